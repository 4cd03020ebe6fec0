"""Reads the objects with the generated module in Spark, and prints what it finds as JSON."""

import importlib.util
import json
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

spec = importlib.util.spec_from_file_location("logweir_spark", sys.argv[1])
lake = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lake)

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.memory", "512m")
    .config("spark.sql.shuffle.partitions", "1")
    # What the session's zone is must not matter.
    .config("spark.sql.session.timeZone", "America/New_York")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
heard = lake.events(spark, "heard").cache()
columns = [
    "event_id", F.unix_millis("event_time").alias("event_time"), F.unix_millis("heard_at").alias("heard_at"), "batch_id",
    "device_id", "user", "order", "group", "select", F.col("table").cast("string"), "from",
    "price", "_share", "copy_number", "device", "advertising_id", "extra",
]
by_day = heard.groupBy(lake.local_day("event_time").cast("string").alias("day"))
days = by_day.agg(F.count("*").alias("events"), F.countDistinct("device_id").alias("devices")).orderBy("day")
print(json.dumps({
    "stored": lake.objects(spark, "heard").count(),
    "class": lake.events(spark, "class").count(),
    "pruned": lake.objects(spark, "heard", "1999-01-01", "1999-01-01").count(),
    "events": [row.asDict() for row in heard.select(*columns).orderBy("event_id").collect()],
    "sum": heard.select(F.sum("price")).first()[0],
    "daily_active": [dict(row.asDict(), stream="heard") for row in days.collect()],
}, default=str))
spark.stop()
