-- Amazon Redshift Spectrum. CREATE EXTERNAL TABLE runs in no transaction: run it with autocommit.
-- Grammar: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_EXTERNAL_SCHEMA.html
--   https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_EXTERNAL_TABLE.html
--   https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_TABLE_external-table.html
--   https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_VIEW.html
--
-- The external schema is a database of the Glue Data Catalog of its own, not the one that Athena's tables are in. Those
-- project their partitions, which Spectrum does not do: it reads partitions that are registered, of any table. So each
-- is added here, an hour at a time, by whatever runs every hour: see ALTER TABLE behind each table.
--
-- The views are in a schema of their own, which ends in _spectrum: in that of the warehouse a table has the stream's name.
-- {stream} has its times and numbers parsed (times are UTC), and each event once: of its copies the one received first.
-- Copies may lie in any partitions, so it reads all of them. A query that shall read a few names dt and hour of
-- {stream}_objects, and counts DISTINCT event_id.

CREATE EXTERNAL SCHEMA IF NOT EXISTS "logweir_lake"
FROM DATA CATALOG DATABASE 'logweir_lake' REGION 'ap-northeast-2'
IAM_ROLE 'arn:aws:iam::123456789012:role/lake'
CREATE EXTERNAL DATABASE IF NOT EXISTS;
CREATE SCHEMA IF NOT EXISTS "logweir_spectrum";

-- device, extra may be any JSON, for which an external table has no type: left out.
-- user may have more than 16384 bytes, the most that Spectrum reads of a string in JSON:
-- https://docs.aws.amazon.com/redshift/latest/mgmt/amazon-redshift-limits.html
CREATE EXTERNAL TABLE "logweir_lake"."heard_objects" (
    "event_id" VARCHAR(128),
    "event_time" VARCHAR(24),
    "received_at" VARCHAR(24),
    "batch_id" VARCHAR(128),
    "client_time" VARCHAR(24),
    "heard_at" VARCHAR(24),
    "device_id" VARCHAR(64),
    "user" VARCHAR(65535),
    "order" BIGINT,
    "group" DOUBLE PRECISION,
    "select" BOOLEAN,
    "table" VARCHAR(10),
    "from" VARCHAR(36),
    "price" VARCHAR(41),
    "_share" VARCHAR(8),
    "copy_number" BIGINT,
    "advertising_id" VARCHAR(64)
)
PARTITIONED BY ("dt" CHAR(10), "hour" CHAR(2))
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
STORED AS TEXTFILE
LOCATION 's3://logs/raw/heard/';
-- Every hour, for the hour that begins:
ALTER TABLE "logweir_lake"."heard_objects" ADD IF NOT EXISTS
PARTITION ("dt" = '2026-11-22', "hour" = '00') LOCATION 's3://logs/raw/heard/dt=2026-11-22/hour=00/';

CREATE OR REPLACE VIEW "logweir_spectrum"."heard" AS
SELECT "event_id",
    CAST(REPLACE(REPLACE("event_time", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "event_time",
    CAST(REPLACE(REPLACE("received_at", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "received_at",
    "batch_id",
    CAST(REPLACE(REPLACE("client_time", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "client_time",
    CAST(REPLACE(REPLACE("heard_at", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "heard_at",
    "device_id",
    "user",
    "order",
    "group",
    "select",
    CAST("table" AS DATE) AS "table",
    "from",
    CAST("price" AS DECIMAL(38, 4)) AS "price",
    CAST("_share" AS DECIMAL(5, 5)) AS "_share",
    "copy_number",
    "advertising_id",
    "dt", "hour"
FROM (
    SELECT *, row_number() OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "copy_number_"
    FROM "logweir_lake"."heard_objects"
) AS "o"
WHERE "copy_number_" = 1
WITH NO SCHEMA BINDING;

CREATE EXTERNAL TABLE "logweir_lake"."class_objects" (
    "event_id" VARCHAR(128),
    "event_time" VARCHAR(24),
    "received_at" VARCHAR(24),
    "batch_id" VARCHAR(128),
    "client_time" VARCHAR(24)
)
PARTITIONED BY ("dt" CHAR(10), "hour" CHAR(2))
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
STORED AS TEXTFILE
LOCATION 's3://logs/raw/class/';
-- Every hour, for the hour that begins:
ALTER TABLE "logweir_lake"."class_objects" ADD IF NOT EXISTS
PARTITION ("dt" = '2026-11-22', "hour" = '00') LOCATION 's3://logs/raw/class/dt=2026-11-22/hour=00/';

CREATE OR REPLACE VIEW "logweir_spectrum"."class" AS
SELECT "event_id",
    CAST(REPLACE(REPLACE("event_time", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "event_time",
    CAST(REPLACE(REPLACE("received_at", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "received_at",
    "batch_id",
    CAST(REPLACE(REPLACE("client_time", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "client_time",
    "dt", "hour"
FROM (
    SELECT *, row_number() OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "copy_number"
    FROM "logweir_lake"."class_objects"
) AS "o"
WHERE "copy_number" = 1
WITH NO SCHEMA BINDING;
