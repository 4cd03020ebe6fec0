-- What has changed since OLD, for spectrum.
-- streams.heard.fields.volume_2: is new and required; its column allows null, since rows and objects from before have none
-- streams.heard.fields.order: is removed: the column stays, null in what is loaded from now on; its values are collected in extra. A field of that name may only come back with the same type, BIGINT. If it was renamed, the new column begins empty
-- A string has become longer, so the table is made anew: add the partitions of all hours to it again.
DROP TABLE IF EXISTS "logweir_lake"."heard_objects";

-- device, extra may be any JSON, for which an external table has no type: left out.
CREATE EXTERNAL TABLE "logweir_lake"."heard_objects" (
    "event_id" VARCHAR(128),
    "event_time" VARCHAR(24),
    "received_at" VARCHAR(24),
    "batch_id" VARCHAR(128),
    "client_time" VARCHAR(24),
    "heard_at" VARCHAR(24),
    "ad_id" VARCHAR(256),
    "user" VARCHAR(64),
    "volume" DOUBLE PRECISION,
    "foreground" BOOLEAN,
    "install_date" VARCHAR(10),
    "session" VARCHAR(36),
    "price" VARCHAR(21),
    "volume_2" BIGINT
)
PARTITIONED BY ("dt" CHAR(10), "hour" CHAR(2))
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
STORED AS TEXTFILE
LOCATION 's3://example-logs/logs/heard/';
-- Every hour, for the hour that begins:
ALTER TABLE "logweir_lake"."heard_objects" ADD IF NOT EXISTS
PARTITION ("dt" = '2026-11-22', "hour" = '00') LOCATION 's3://example-logs/logs/heard/dt=2026-11-22/hour=00/';
DROP VIEW IF EXISTS "logweir_spectrum"."heard";

CREATE OR REPLACE VIEW "logweir_spectrum"."heard" AS
SELECT "event_id",
    CAST(REPLACE(REPLACE("event_time", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "event_time",
    CAST(REPLACE(REPLACE("received_at", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "received_at",
    "batch_id",
    CAST(REPLACE(REPLACE("client_time", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "client_time",
    CAST(REPLACE(REPLACE("heard_at", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "heard_at",
    "ad_id",
    "user",
    "volume",
    "foreground",
    CAST("install_date" AS DATE) AS "install_date",
    "session",
    CAST("price" AS DECIMAL(18, 4)) AS "price",
    "volume_2",
    "dt", "hour"
FROM (
    SELECT *, row_number() OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "copy_number"
    FROM "logweir_lake"."heard_objects"
) AS "o"
WHERE "copy_number" = 1
WITH NO SCHEMA BINDING;
-- A string has become longer, so the table is made anew: add the partitions of all hours to it again.
DROP TABLE IF EXISTS "logweir_lake"."seen_objects";

-- details, extra may be any JSON, for which an external table has no type: left out.
CREATE EXTERNAL TABLE "logweir_lake"."seen_objects" (
    "event_id" VARCHAR(128),
    "event_time" VARCHAR(24),
    "received_at" VARCHAR(24),
    "batch_id" VARCHAR(128),
    "client_time" VARCHAR(24),
    "seen_at" VARCHAR(24),
    "page" VARCHAR(256),
    "referrer" VARCHAR(256)
)
PARTITIONED BY ("dt" CHAR(10), "hour" CHAR(2))
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
STORED AS TEXTFILE
LOCATION 's3://example-logs/logs/seen/';
-- Every hour, for the hour that begins:
ALTER TABLE "logweir_lake"."seen_objects" ADD IF NOT EXISTS
PARTITION ("dt" = '2026-11-22', "hour" = '00') LOCATION 's3://example-logs/logs/seen/dt=2026-11-22/hour=00/';
DROP VIEW IF EXISTS "logweir_spectrum"."seen";

CREATE OR REPLACE VIEW "logweir_spectrum"."seen" AS
SELECT "event_id",
    CAST(REPLACE(REPLACE("event_time", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "event_time",
    CAST(REPLACE(REPLACE("received_at", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "received_at",
    "batch_id",
    CAST(REPLACE(REPLACE("client_time", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "client_time",
    CAST(REPLACE(REPLACE("seen_at", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "seen_at",
    "page",
    "referrer",
    "dt", "hour"
FROM (
    SELECT *, row_number() OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "copy_number"
    FROM "logweir_lake"."seen_objects"
) AS "o"
WHERE "copy_number" = 1
WITH NO SCHEMA BINDING;

-- extra may be any JSON, for which an external table has no type: left out.
CREATE EXTERNAL TABLE "logweir_lake"."fresh_objects" (
    "event_id" VARCHAR(128),
    "event_time" VARCHAR(24),
    "received_at" VARCHAR(24),
    "batch_id" VARCHAR(128),
    "client_time" VARCHAR(24),
    "what" BOOLEAN
)
PARTITIONED BY ("dt" CHAR(10), "hour" CHAR(2))
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
STORED AS TEXTFILE
LOCATION 's3://example-logs/logs/fresh/';
-- Every hour, for the hour that begins:
ALTER TABLE "logweir_lake"."fresh_objects" ADD IF NOT EXISTS
PARTITION ("dt" = '2026-11-22', "hour" = '00') LOCATION 's3://example-logs/logs/fresh/dt=2026-11-22/hour=00/';
DROP VIEW IF EXISTS "logweir_spectrum"."fresh";

CREATE OR REPLACE VIEW "logweir_spectrum"."fresh" AS
SELECT "event_id",
    CAST(REPLACE(REPLACE("event_time", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "event_time",
    CAST(REPLACE(REPLACE("received_at", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "received_at",
    "batch_id",
    CAST(REPLACE(REPLACE("client_time", 'T', ' '), 'Z', '') AS TIMESTAMP) AS "client_time",
    "what",
    "dt", "hour"
FROM (
    SELECT *, row_number() OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "copy_number"
    FROM "logweir_lake"."fresh_objects"
) AS "o"
WHERE "copy_number" = 1
WITH NO SCHEMA BINDING;
