"""The objects in Spark.

    from logweir_spark import events, local_day
    heard = events(spark, "heard", "2026-11-21", "2026-11-22")

Grammar: https://spark.apache.org/docs/latest/sql-data-sources-json.html
  https://spark.apache.org/docs/latest/sql-data-sources-parquet.html#partition-discovery
  https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html
"""

from pyspark.sql import Window
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DateType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

# Where the streams are.
OBJECTS = "s3a://logs/raw/"
# The analysts' time zone.
TIMEZONE = "Asia/Seoul"

# What is stored. dt and hour are those at which the server received an event, in UTC.
SCHEMAS = {
    "heard": StructType([
        StructField("event_id", StringType()),
        StructField("event_time", StringType()),
        StructField("received_at", StringType()),
        StructField("batch_id", StringType()),
        StructField("client_time", StringType()),
        StructField("heard_at", StringType()),
        StructField("device_id", StringType()),
        StructField("user", StringType()),
        StructField("order", LongType()),
        StructField("group", DoubleType()),
        StructField("select", BooleanType()),
        StructField("table", StringType()),
        StructField("from", StringType()),
        StructField("price", StringType()),
        StructField("_share", StringType()),
        StructField("copy_number", LongType()),
        StructField("device", StringType()),
        StructField("advertising_id", StringType()),
        StructField("extra", StringType()),
        StructField("dt", DateType()),
        StructField("hour", IntegerType()),
    ]),
    "class": StructType([
        StructField("event_id", StringType()),
        StructField("event_time", StringType()),
        StructField("received_at", StringType()),
        StructField("batch_id", StringType()),
        StructField("client_time", StringType()),
        StructField("dt", DateType()),
        StructField("hour", IntegerType()),
    ]),
}

# What is stored as text, and what it is.
PARSED = {
    "heard": {
        "event_time": "timestamp",
        "received_at": "timestamp",
        "client_time": "timestamp",
        "heard_at": "timestamp",
        "table": "date",
        "price": "decimal(38,4)",
        "_share": "decimal(5,5)",
    },
    "class": {
        "event_time": "timestamp",
        "received_at": "timestamp",
        "client_time": "timestamp",
    },
}


def objects(spark, stream, first=None, last=None):
    """What is stored of a stream, or of it what the server received from one date of UTC to another.

    JSON of any form is text: a JSON string without its quotes.
    """
    rows = spark.read.schema(SCHEMAS[stream]).option("mode", "FAILFAST").json(OBJECTS + stream + "/")
    if first is not None:
        rows = rows.where(F.col("dt") >= F.lit(first).cast("date"))
    if last is not None:
        rows = rows.where(F.col("dt") <= F.lit(last).cast("date"))
    return rows


def events(spark, stream, first=None, last=None):
    """The events of a stream with their times and numbers parsed, each once: of its copies the one received first.

    Copies are found among what was received between the dates.
    """
    rows = objects(spark, stream, first, last)
    copy = "copy_number"
    while copy in rows.columns:
        copy += "_"
    order = Window.partitionBy("event_id").orderBy("received_at")
    rows = rows.withColumn(copy, F.row_number().over(order)).where(F.col(copy) == 1).drop(copy)
    for name, kind in PARSED[stream].items():
        if kind == "timestamp":
            value = F.to_timestamp(F.col(name), "yyyy-MM-dd'T'HH:mm:ss.SSSX")
        else:
            value = F.col(name).cast(kind)
        rows = rows.withColumn(name, value)
    return rows


def local_day(column):
    """The analysts' day of a timestamp, whatever the time zone of the session."""
    utc = F.to_utc_timestamp(F.col(column), F.current_timezone())
    return F.to_date(F.from_utc_timestamp(utc, TIMEZONE))
