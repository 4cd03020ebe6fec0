-- Amazon Athena, engine version 3. Run each statement by itself.
-- Grammar: https://docs.aws.amazon.com/athena/latest/ug/create-table.html
--   https://docs.aws.amazon.com/athena/latest/ug/hive-json-serde.html
--   https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
--   https://docs.aws.amazon.com/athena/latest/ug/create-view.html
--   https://docs.aws.amazon.com/athena/latest/ug/drop-table.html
--
-- Running it again takes over what has changed. An external table is a description alone: to drop it deletes no object.
--
-- {stream}_objects is what is stored. Its partitions are projected: none has to be added. They are the date and the
-- hour at which the server received an event, in UTC. A query that names dt there reads no other partition.
-- {stream} has its times and numbers parsed (times are UTC without a zone, a UUID stays text), and each event once: of
-- its copies the one received first. Copies may lie in any two partitions, and no engine looks for them in those that a
-- query has excluded: so a query of {stream} reads all partitions, whatever it asks for. One that shall read a few names
-- them in {stream}_objects and counts each event_id once, as the example behind each view does.

CREATE DATABASE IF NOT EXISTS `logweir`;

-- device, extra may be any JSON, which the SerDe cannot read as text: not here, but in the next table.
DROP TABLE IF EXISTS `logweir`.`heard_objects`;
CREATE EXTERNAL TABLE `logweir`.`heard_objects` (
    `event_id` string,
    `event_time` string,
    `received_at` string,
    `batch_id` string,
    `client_time` string,
    `heard_at` string,
    `device_id` string,
    `user` string,
    `order` bigint,
    `group` double,
    `select` boolean,
    `table` string,
    `from` string,
    `price` string,
    `_share` string,
    `copy_number` bigint,
    `advertising_id` string
)
PARTITIONED BY (`dt` string, `hour` string)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS TEXTFILE
LOCATION 's3://logs/raw/heard/'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.dt.type' = 'date',
    'projection.dt.format' = 'yyyy-MM-dd',
    'projection.dt.range' = '2026-01-01,NOW',
    'projection.dt.interval' = '1',
    'projection.dt.interval.unit' = 'DAYS',
    'projection.hour.type' = 'integer',
    'projection.hour.range' = '0,23',
    'projection.hour.digits' = '2',
    'storage.location.template' = 's3://logs/raw/heard/dt=${dt}/hour=${hour}/'
);

DROP TABLE IF EXISTS `logweir`.`heard_objects_lines`;
CREATE EXTERNAL TABLE `logweir`.`heard_objects_lines` (
    `line` string
)
PARTITIONED BY (`dt` string, `hour` string)
ROW FORMAT DELIMITED FIELDS TERMINATED BY '\001' LINES TERMINATED BY '\n'
STORED AS TEXTFILE
LOCATION 's3://logs/raw/heard/'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.dt.type' = 'date',
    'projection.dt.format' = 'yyyy-MM-dd',
    'projection.dt.range' = '2026-01-01,NOW',
    'projection.dt.interval' = '1',
    'projection.dt.interval.unit' = 'DAYS',
    'projection.hour.type' = 'integer',
    'projection.hour.range' = '0,23',
    'projection.hour.digits' = '2',
    'storage.location.template' = 's3://logs/raw/heard/dt=${dt}/hour=${hour}/'
);
-- SELECT json_extract_scalar("line", '$.event_id'), json_extract("line", '$.device')
-- FROM "logweir"."heard_objects_lines" WHERE "dt" BETWEEN '2026-11-21' AND '2026-11-22';

CREATE OR REPLACE VIEW "logweir"."heard" AS
SELECT "event_id",
    CAST(from_iso8601_timestamp("event_time") AS timestamp) AS "event_time",
    CAST(from_iso8601_timestamp("received_at") AS timestamp) AS "received_at",
    "batch_id",
    CAST(from_iso8601_timestamp("client_time") AS timestamp) AS "client_time",
    CAST(from_iso8601_timestamp("heard_at") AS timestamp) AS "heard_at",
    "device_id",
    "user",
    "order",
    "group",
    "select",
    CAST("table" AS date) AS "table",
    "from",
    CAST("price" AS decimal(38, 4)) AS "price",
    CAST("_share" AS decimal(5, 5)) AS "_share",
    "copy_number",
    "advertising_id",
    "dt", "hour"
FROM (
    SELECT *, row_number() OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "copy_number_"
    FROM "logweir"."heard_objects"
)
WHERE "copy_number_" = 1;
-- 2026-11-22 in Asia/Seoul lies on these dates of UTC. What devices sent later is in later partitions: name them too,
-- up to 7 days more.
-- SELECT count(DISTINCT "event_id") AS "events", count(DISTINCT "device_id") AS "devices"
-- FROM "logweir"."heard_objects"
-- WHERE "dt" IN ('2026-11-21', '2026-11-22')
--   AND CAST(at_timezone(from_iso8601_timestamp("event_time"), 'Asia/Seoul') AS date) = DATE '2026-11-22';

DROP TABLE IF EXISTS `logweir`.`class_objects`;
CREATE EXTERNAL TABLE `logweir`.`class_objects` (
    `event_id` string,
    `event_time` string,
    `received_at` string,
    `batch_id` string,
    `client_time` string
)
PARTITIONED BY (`dt` string, `hour` string)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS TEXTFILE
LOCATION 's3://logs/raw/class/'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.dt.type' = 'date',
    'projection.dt.format' = 'yyyy-MM-dd',
    'projection.dt.range' = '2026-01-01,NOW',
    'projection.dt.interval' = '1',
    'projection.dt.interval.unit' = 'DAYS',
    'projection.hour.type' = 'integer',
    'projection.hour.range' = '0,23',
    'projection.hour.digits' = '2',
    'storage.location.template' = 's3://logs/raw/class/dt=${dt}/hour=${hour}/'
);

CREATE OR REPLACE VIEW "logweir"."class" AS
SELECT "event_id",
    CAST(from_iso8601_timestamp("event_time") AS timestamp) AS "event_time",
    CAST(from_iso8601_timestamp("received_at") AS timestamp) AS "received_at",
    "batch_id",
    CAST(from_iso8601_timestamp("client_time") AS timestamp) AS "client_time",
    "dt", "hour"
FROM (
    SELECT *, row_number() OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "copy_number"
    FROM "logweir"."class_objects"
)
WHERE "copy_number" = 1;
-- 2026-11-22 in Asia/Seoul lies on these dates of UTC. What devices sent later is in later partitions: name them too,
-- up to 7 days more.
-- SELECT count(DISTINCT "event_id") AS "events"
-- FROM "logweir"."class_objects"
-- WHERE "dt" IN ('2026-11-21', '2026-11-22')
--   AND CAST(at_timezone(from_iso8601_timestamp("event_time"), 'Asia/Seoul') AS date) = DATE '2026-11-22';

-- Figures by day and hour of the analysts' clock, as the warehouse's rollups have them, without is_complete and
-- is_final: whether everything that was received is here is told by heartbeats, which no object has. `logweir audit`
-- tells it. Each view reads all partitions of its streams.

CREATE OR REPLACE VIEW "logweir"."daily_active" AS
SELECT 'heard' AS "stream",
    CAST(at_timezone(with_timezone("event_time", 'UTC'), 'Asia/Seoul') AS date) AS "day",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) AS "counted_at"
FROM "logweir"."heard" GROUP BY 2;

CREATE OR REPLACE VIEW "logweir"."daily_counts" AS
SELECT 'heard' AS "stream",
    CAST(at_timezone(with_timezone("event_time", 'UTC'), 'Asia/Seoul') AS date) AS "day",
    'select' AS "dimension", CAST("select" AS varchar) AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4
UNION ALL
SELECT 'heard' AS "stream",
    CAST(at_timezone(with_timezone("event_time", 'UTC'), 'Asia/Seoul') AS date) AS "day",
    'order' AS "dimension", CAST("order" AS varchar) AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4
UNION ALL
SELECT 'heard' AS "stream",
    CAST(at_timezone(with_timezone("event_time", 'UTC'), 'Asia/Seoul') AS date) AS "day",
    'user' AS "dimension", "user" AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4;

CREATE OR REPLACE VIEW "logweir"."hourly_active" AS
SELECT 'heard' AS "stream",
    date_trunc('hour', CAST(at_timezone(with_timezone("event_time", 'UTC'), 'Asia/Seoul') AS timestamp)) AS "hour",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) AS "counted_at"
FROM "logweir"."heard" GROUP BY 2;

CREATE OR REPLACE VIEW "logweir"."hourly_counts" AS
SELECT 'heard' AS "stream",
    date_trunc('hour', CAST(at_timezone(with_timezone("event_time", 'UTC'), 'Asia/Seoul') AS timestamp)) AS "hour",
    'select' AS "dimension", CAST("select" AS varchar) AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4
UNION ALL
SELECT 'heard' AS "stream",
    date_trunc('hour', CAST(at_timezone(with_timezone("event_time", 'UTC'), 'Asia/Seoul') AS timestamp)) AS "hour",
    'order' AS "dimension", CAST("order" AS varchar) AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4
UNION ALL
SELECT 'heard' AS "stream",
    date_trunc('hour', CAST(at_timezone(with_timezone("event_time", 'UTC'), 'Asia/Seoul') AS timestamp)) AS "hour",
    'user' AS "dimension", "user" AS "value",
    count(*) AS "events", count(DISTINCT "device_id") AS "devices",
    CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) AS "counted_at"
FROM "logweir"."heard" GROUP BY 2, 4;
