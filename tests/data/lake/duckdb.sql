-- DuckDB. Run it once there are objects: a view over no file is refused.
-- Grammar: https://duckdb.org/docs/stable/data/json/loading_json
--   https://duckdb.org/docs/stable/data/partitioning/hive_partitioning
--
-- {stream}_objects is what is stored. dt and hour are those at which the server received an event, in UTC; a WHERE
-- that names them there reads no other file.
-- {stream} has its times and numbers parsed, and each event once: of its copies the one received first. Copies may lie
-- in any partitions, so it reads all of them. JSON is written anew, so that 2.50 within it becomes 2.5.

-- The bucket is read with the credentials that the AWS tools find.
-- Grammar: https://duckdb.org/docs/stable/core_extensions/httpfs/s3api
INSTALL httpfs; LOAD httpfs; INSTALL aws; LOAD aws;
CREATE OR REPLACE SECRET logweir (TYPE s3, PROVIDER credential_chain, REGION 'ap-northeast-2');

CREATE SCHEMA IF NOT EXISTS "logweir";

CREATE OR REPLACE VIEW "logweir"."heard_objects" AS
SELECT * FROM read_json(
    's3://logs/raw/heard/dt=*/hour=*/*.ndjson.*',
    format = 'newline_delimited', compression = 'auto_detect', maximum_object_size = 16777216,
    hive_partitioning = true, hive_types = {'dt': DATE, 'hour': BIGINT},
    columns = {
        'event_id': 'VARCHAR',
        'event_time': 'VARCHAR',
        'received_at': 'VARCHAR',
        'batch_id': 'VARCHAR',
        'client_time': 'VARCHAR',
        'heard_at': 'VARCHAR',
        'device_id': 'VARCHAR',
        'user': 'VARCHAR',
        'order': 'BIGINT',
        'group': 'DOUBLE',
        'select': 'BOOLEAN',
        'table': 'VARCHAR',
        'from': 'VARCHAR',
        'price': 'VARCHAR',
        '_share': 'VARCHAR',
        'copy_number': 'BIGINT',
        'device': 'JSON',
        'advertising_id': 'VARCHAR',
        'extra': 'JSON'
    }
);

CREATE OR REPLACE VIEW "logweir"."heard" AS
SELECT "o"."event_id",
    CAST("o"."event_time" AS TIMESTAMPTZ) AS "event_time",
    CAST("o"."received_at" AS TIMESTAMPTZ) AS "received_at",
    "o"."batch_id",
    CAST("o"."client_time" AS TIMESTAMPTZ) AS "client_time",
    CAST("o"."heard_at" AS TIMESTAMPTZ) AS "heard_at",
    "o"."device_id",
    "o"."user",
    "o"."order",
    "o"."group",
    "o"."select",
    CAST("o"."table" AS DATE) AS "table",
    CAST("o"."from" AS UUID) AS "from",
    CAST("o"."price" AS DECIMAL(38, 4)) AS "price",
    CAST("o"."_share" AS DECIMAL(5, 5)) AS "_share",
    "o"."copy_number",
    "o"."device",
    "o"."advertising_id",
    "o"."extra",
    "dt", "hour"
FROM "logweir"."heard_objects" AS "o"
QUALIFY row_number() OVER (PARTITION BY "o"."event_id" ORDER BY "o"."received_at") = 1;

CREATE OR REPLACE VIEW "logweir"."class_objects" AS
SELECT * FROM read_json(
    's3://logs/raw/class/dt=*/hour=*/*.ndjson.*',
    format = 'newline_delimited', compression = 'auto_detect', maximum_object_size = 16777216,
    hive_partitioning = true, hive_types = {'dt': DATE, 'hour': BIGINT},
    columns = {
        'event_id': 'VARCHAR',
        'event_time': 'VARCHAR',
        'received_at': 'VARCHAR',
        'batch_id': 'VARCHAR',
        'client_time': 'VARCHAR'
    }
);

CREATE OR REPLACE VIEW "logweir"."class" AS
SELECT "o"."event_id",
    CAST("o"."event_time" AS TIMESTAMPTZ) AS "event_time",
    CAST("o"."received_at" AS TIMESTAMPTZ) AS "received_at",
    "o"."batch_id",
    CAST("o"."client_time" AS TIMESTAMPTZ) AS "client_time",
    "dt", "hour"
FROM "logweir"."class_objects" AS "o"
QUALIFY row_number() OVER (PARTITION BY "o"."event_id" ORDER BY "o"."received_at") = 1;

-- Figures by day and hour of the analysts' clock, as the warehouse's rollups have them, without is_complete and
-- is_final: whether everything that was received is here is told by heartbeats, which no object has. `logweir audit`
-- tells it. Each view reads all objects of its streams.

CREATE OR REPLACE VIEW "logweir"."daily_active" AS
SELECT 'heard' AS "stream",
    CAST(("event_time" AT TIME ZONE 'Asia/Seoul') AS DATE) AS "day",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    now() AS "counted_at"
FROM "logweir"."heard" GROUP BY 2;

CREATE OR REPLACE VIEW "logweir"."daily_counts" AS
SELECT 'heard' AS "stream",
    CAST(("event_time" AT TIME ZONE 'Asia/Seoul') AS DATE) AS "day",
    'select' AS "dimension", CAST("select" AS VARCHAR) AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    now() AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4
UNION ALL
SELECT 'heard' AS "stream",
    CAST(("event_time" AT TIME ZONE 'Asia/Seoul') AS DATE) AS "day",
    'order' AS "dimension", CAST("order" AS VARCHAR) AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    now() AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4
UNION ALL
SELECT 'heard' AS "stream",
    CAST(("event_time" AT TIME ZONE 'Asia/Seoul') AS DATE) AS "day",
    'user' AS "dimension", CAST("user" AS VARCHAR) AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    now() AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4;

CREATE OR REPLACE VIEW "logweir"."hourly_active" AS
SELECT 'heard' AS "stream",
    date_trunc('hour', ("event_time" AT TIME ZONE 'Asia/Seoul')) AS "hour",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    now() AS "counted_at"
FROM "logweir"."heard" GROUP BY 2;

CREATE OR REPLACE VIEW "logweir"."hourly_counts" AS
SELECT 'heard' AS "stream",
    date_trunc('hour', ("event_time" AT TIME ZONE 'Asia/Seoul')) AS "hour",
    'select' AS "dimension", CAST("select" AS VARCHAR) AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    now() AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4
UNION ALL
SELECT 'heard' AS "stream",
    date_trunc('hour', ("event_time" AT TIME ZONE 'Asia/Seoul')) AS "hour",
    'order' AS "dimension", CAST("order" AS VARCHAR) AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    now() AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4
UNION ALL
SELECT 'heard' AS "stream",
    date_trunc('hour', ("event_time" AT TIME ZONE 'Asia/Seoul')) AS "hour",
    'user' AS "dimension", CAST("user" AS VARCHAR) AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    now() AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4;
