CREATE TABLE IF NOT EXISTS "logweir"."daily_active" (
  "stream" VARCHAR(63) NOT NULL ENCODE ZSTD,
  "day" DATE NOT NULL ENCODE RAW,
  "events" BIGINT NOT NULL ENCODE AZ64,
  "devices" BIGINT NOT NULL ENCODE AZ64,
  "is_complete" BOOLEAN NOT NULL ENCODE RAW,
  "is_final" BOOLEAN NOT NULL ENCODE RAW,
  "counted_at" TIMESTAMP NOT NULL ENCODE AZ64
) DISTSTYLE AUTO SORTKEY ("day", "stream");

CREATE TABLE IF NOT EXISTS "logweir"."hourly_active" (
  "stream" VARCHAR(63) NOT NULL ENCODE ZSTD,
  "hour" TIMESTAMP NOT NULL ENCODE RAW,
  "events" BIGINT NOT NULL ENCODE AZ64,
  "devices" BIGINT NOT NULL ENCODE AZ64,
  "is_complete" BOOLEAN NOT NULL ENCODE RAW,
  "is_final" BOOLEAN NOT NULL ENCODE RAW,
  "counted_at" TIMESTAMP NOT NULL ENCODE AZ64
) DISTSTYLE AUTO SORTKEY ("hour", "stream");

CREATE TABLE IF NOT EXISTS "logweir"."daily_counts" (
  "stream" VARCHAR(63) NOT NULL ENCODE ZSTD,
  "day" DATE NOT NULL ENCODE RAW,
  "dimension" VARCHAR(127) NOT NULL ENCODE ZSTD,
  "value" VARCHAR(256) ENCODE ZSTD,
  "events" BIGINT NOT NULL ENCODE AZ64,
  "devices" BIGINT NOT NULL ENCODE AZ64,
  "is_complete" BOOLEAN NOT NULL ENCODE RAW,
  "is_final" BOOLEAN NOT NULL ENCODE RAW,
  "counted_at" TIMESTAMP NOT NULL ENCODE AZ64
) DISTSTYLE AUTO SORTKEY ("day", "stream");

CREATE TABLE IF NOT EXISTS "logweir"."hourly_counts" (
  "stream" VARCHAR(63) NOT NULL ENCODE ZSTD,
  "hour" TIMESTAMP NOT NULL ENCODE RAW,
  "dimension" VARCHAR(127) NOT NULL ENCODE ZSTD,
  "value" VARCHAR(256) ENCODE ZSTD,
  "events" BIGINT NOT NULL ENCODE AZ64,
  "devices" BIGINT NOT NULL ENCODE AZ64,
  "is_complete" BOOLEAN NOT NULL ENCODE RAW,
  "is_final" BOOLEAN NOT NULL ENCODE RAW,
  "counted_at" TIMESTAMP NOT NULL ENCODE AZ64
) DISTSTYLE AUTO SORTKEY ("hour", "stream");

CREATE TABLE IF NOT EXISTS "logweir"."rollup_status" (
  "stream" VARCHAR(63) NOT NULL ENCODE ZSTD,
  "definition" VARCHAR(4096) NOT NULL ENCODE ZSTD,
  "complete_through" TIMESTAMP ENCODE AZ64,
  "last_load_id" VARCHAR(26) ENCODE ZSTD,
  "counted_from" TIMESTAMP ENCODE AZ64,
  "final_before" TIMESTAMP ENCODE AZ64,
  "counted_at" TIMESTAMP ENCODE AZ64,
  "restated_at" TIMESTAMP ENCODE AZ64
) DISTSTYLE ALL;

-- a first refresh

-- lock the figures
LOCK "logweir"."rollup_status";

-- know the stream
INSERT INTO "logweir"."rollup_status" ("stream", "definition") SELECT 'heard', 'Asia/Seoul of ad_id, by channel, paid' WHERE NOT EXISTS (SELECT 1 FROM "logweir"."rollup_status" WHERE "stream" = 'heard');

-- begin a refresh
UPDATE "logweir"."rollup_status" SET "counted_from" = GREATEST(COALESCE("final_before", TIMESTAMP '1970-01-01 00:00:00'), TIMESTAMP '1970-01-01 00:00:00'), "complete_through" = NULL, "last_load_id" = NULL, "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000' WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid';

-- leave what cannot be counted
UPDATE "logweir"."rollup_status" AS s SET "counted_from" = CASE WHEN f."first" + INTERVAL '0 hours' < o."oldest" THEN GREATEST(s."counted_from", o."oldest" + INTERVAL '24 hours') WHEN o."oldest" IS NOT NULL THEN s."counted_from" END FROM (SELECT DATE_TRUNC('day', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', MIN("event_time"))) AS "oldest" FROM "logweir"."heard") o CROSS JOIN (SELECT CAST(MIN("day") AS TIMESTAMP) AS "first" FROM "logweir"."daily_active" WHERE "stream" = 'heard') f WHERE s."stream" = 'heard' AND s."definition" = 'Asia/Seoul of ad_id, by channel, paid' AND s."counted_at" = TIMESTAMP '2026-11-20 00:00:00.000';

-- read how far the stream is loaded
UPDATE "logweir"."rollup_status" AS s SET "complete_through" = l."complete_through", "last_load_id" = l."last_load_id" FROM "logweir"."load_status" l WHERE l."stream" = s."stream" AND s."stream" = 'heard' AND s."definition" = 'Asia/Seoul of ad_id, by channel, paid' AND s."counted_at" = TIMESTAMP '2026-11-20 00:00:00.000';

-- tell what is final
UPDATE "logweir"."rollup_status" SET "final_before" = GREATEST(COALESCE("final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', ("complete_through" - INTERVAL '168 hours'))), CONVERT_TIMEZONE('UTC', 'Asia/Seoul', ("complete_through" - INTERVAL '168 hours'))) WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000' AND "complete_through" IS NOT NULL;

-- delete the figures
DELETE FROM "logweir"."daily_active" WHERE "stream" = 'heard' AND "day" >= DATE '1970-01-01' AND "day" >= (SELECT CAST("counted_from" AS DATE) FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000');

-- count
INSERT INTO "logweir"."daily_active" ("stream", "day", "events", "devices", "is_complete", "is_final", "counted_at") SELECT CAST('heard' AS VARCHAR(63)), CAST(c."at" AS DATE), c."events", c."devices", CASE WHEN c."at" + INTERVAL '24 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '24 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('day', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device" FROM "logweir"."heard") e GROUP BY e."at") c CROSS JOIN (SELECT DATE_TRUNC('day', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '1970-01-01 00:00:00';

-- delete the figures
DELETE FROM "logweir"."hourly_active" WHERE "stream" = 'heard' AND "hour" >= TIMESTAMP '1970-01-01 00:00:00' AND "hour" >= (SELECT DATE_TRUNC('hour', "counted_from") FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000');

-- count
INSERT INTO "logweir"."hourly_active" ("stream", "hour", "events", "devices", "is_complete", "is_final", "counted_at") SELECT CAST('heard' AS VARCHAR(63)), c."at", c."events", c."devices", CASE WHEN c."at" + INTERVAL '1 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '1 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('hour', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device" FROM "logweir"."heard") e GROUP BY e."at") c CROSS JOIN (SELECT DATE_TRUNC('hour', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '1970-01-01 00:00:00';

-- delete the figures
DELETE FROM "logweir"."daily_counts" WHERE "stream" = 'heard' AND "day" >= DATE '1970-01-01' AND "day" >= (SELECT CAST("counted_from" AS DATE) FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000');

-- count
INSERT INTO "logweir"."daily_counts" ("stream", "day", "dimension", "value", "events", "devices", "is_complete", "is_final", "counted_at") SELECT CAST('heard' AS VARCHAR(63)), CAST(c."at" AS DATE), CAST('channel' AS VARCHAR(127)), c."value", c."events", c."devices", CASE WHEN c."at" + INTERVAL '24 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '24 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", e."value", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('day', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device", CAST(CASE WHEN OCTET_LENGTH("channel") <= 256 THEN "channel" ELSE LEFT("channel", 64) END AS VARCHAR(256)) AS "value" FROM "logweir"."heard") e GROUP BY e."at", e."value") c CROSS JOIN (SELECT DATE_TRUNC('day', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '1970-01-01 00:00:00' UNION ALL SELECT CAST('heard' AS VARCHAR(63)), CAST(c."at" AS DATE), CAST('paid' AS VARCHAR(127)), c."value", c."events", c."devices", CASE WHEN c."at" + INTERVAL '24 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '24 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", e."value", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('day', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device", CASE WHEN "paid" THEN 'true' WHEN NOT "paid" THEN 'false' END AS "value" FROM "logweir"."heard") e GROUP BY e."at", e."value") c CROSS JOIN (SELECT DATE_TRUNC('day', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '1970-01-01 00:00:00';

-- delete the figures
DELETE FROM "logweir"."hourly_counts" WHERE "stream" = 'heard' AND "hour" >= TIMESTAMP '1970-01-01 00:00:00' AND "hour" >= (SELECT DATE_TRUNC('hour', "counted_from") FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000');

-- count
INSERT INTO "logweir"."hourly_counts" ("stream", "hour", "dimension", "value", "events", "devices", "is_complete", "is_final", "counted_at") SELECT CAST('heard' AS VARCHAR(63)), c."at", CAST('channel' AS VARCHAR(127)), c."value", c."events", c."devices", CASE WHEN c."at" + INTERVAL '1 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '1 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", e."value", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('hour', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device", CAST(CASE WHEN OCTET_LENGTH("channel") <= 256 THEN "channel" ELSE LEFT("channel", 64) END AS VARCHAR(256)) AS "value" FROM "logweir"."heard") e GROUP BY e."at", e."value") c CROSS JOIN (SELECT DATE_TRUNC('hour', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '1970-01-01 00:00:00' UNION ALL SELECT CAST('heard' AS VARCHAR(63)), c."at", CAST('paid' AS VARCHAR(127)), c."value", c."events", c."devices", CASE WHEN c."at" + INTERVAL '1 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '1 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", e."value", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('hour', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device", CASE WHEN "paid" THEN 'true' WHEN NOT "paid" THEN 'false' END AS "value" FROM "logweir"."heard") e GROUP BY e."at", e."value") c CROSS JOIN (SELECT DATE_TRUNC('hour', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "counted_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '1970-01-01 00:00:00';

-- two days restated

-- lock the figures
LOCK "logweir"."rollup_status";

-- know the stream
INSERT INTO "logweir"."rollup_status" ("stream", "definition") SELECT 'heard', 'Asia/Seoul of ad_id, by channel, paid' WHERE NOT EXISTS (SELECT 1 FROM "logweir"."rollup_status" WHERE "stream" = 'heard');

-- begin to restate
UPDATE "logweir"."rollup_status" SET "counted_from" = TIMESTAMP '2026-11-03 00:00:00', "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000' WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid';

-- delete the figures
DELETE FROM "logweir"."daily_active" WHERE "stream" = 'heard' AND "day" >= DATE '2026-11-03' AND "day" < DATE '2026-11-05' AND "day" >= (SELECT CAST("counted_from" AS DATE) FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000');

-- count
INSERT INTO "logweir"."daily_active" ("stream", "day", "events", "devices", "is_complete", "is_final", "counted_at") SELECT CAST('heard' AS VARCHAR(63)), CAST(c."at" AS DATE), c."events", c."devices", CASE WHEN c."at" + INTERVAL '24 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '24 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('day', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device" FROM "logweir"."heard" WHERE "event_time" >= TIMESTAMP '2026-11-02 13:00:00.000' AND "event_time" < TIMESTAMP '2026-11-04 17:00:00.000') e GROUP BY e."at") c CROSS JOIN (SELECT DATE_TRUNC('day', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '2026-11-03 00:00:00' AND c."at" < TIMESTAMP '2026-11-05 00:00:00';

-- delete the figures
DELETE FROM "logweir"."hourly_active" WHERE "stream" = 'heard' AND "hour" >= TIMESTAMP '2026-11-03 00:00:00' AND "hour" < TIMESTAMP '2026-11-05 00:00:00' AND "hour" >= (SELECT DATE_TRUNC('hour', "counted_from") FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000');

-- count
INSERT INTO "logweir"."hourly_active" ("stream", "hour", "events", "devices", "is_complete", "is_final", "counted_at") SELECT CAST('heard' AS VARCHAR(63)), c."at", c."events", c."devices", CASE WHEN c."at" + INTERVAL '1 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '1 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('hour', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device" FROM "logweir"."heard" WHERE "event_time" >= TIMESTAMP '2026-11-02 13:00:00.000' AND "event_time" < TIMESTAMP '2026-11-04 17:00:00.000') e GROUP BY e."at") c CROSS JOIN (SELECT DATE_TRUNC('hour', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '2026-11-03 00:00:00' AND c."at" < TIMESTAMP '2026-11-05 00:00:00';

-- delete the figures
DELETE FROM "logweir"."daily_counts" WHERE "stream" = 'heard' AND "day" >= DATE '2026-11-03' AND "day" < DATE '2026-11-05' AND "day" >= (SELECT CAST("counted_from" AS DATE) FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000');

-- count
INSERT INTO "logweir"."daily_counts" ("stream", "day", "dimension", "value", "events", "devices", "is_complete", "is_final", "counted_at") SELECT CAST('heard' AS VARCHAR(63)), CAST(c."at" AS DATE), CAST('channel' AS VARCHAR(127)), c."value", c."events", c."devices", CASE WHEN c."at" + INTERVAL '24 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '24 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", e."value", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('day', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device", CAST(CASE WHEN OCTET_LENGTH("channel") <= 256 THEN "channel" ELSE LEFT("channel", 64) END AS VARCHAR(256)) AS "value" FROM "logweir"."heard" WHERE "event_time" >= TIMESTAMP '2026-11-02 13:00:00.000' AND "event_time" < TIMESTAMP '2026-11-04 17:00:00.000') e GROUP BY e."at", e."value") c CROSS JOIN (SELECT DATE_TRUNC('day', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '2026-11-03 00:00:00' AND c."at" < TIMESTAMP '2026-11-05 00:00:00' UNION ALL SELECT CAST('heard' AS VARCHAR(63)), CAST(c."at" AS DATE), CAST('paid' AS VARCHAR(127)), c."value", c."events", c."devices", CASE WHEN c."at" + INTERVAL '24 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '24 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", e."value", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('day', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device", CASE WHEN "paid" THEN 'true' WHEN NOT "paid" THEN 'false' END AS "value" FROM "logweir"."heard" WHERE "event_time" >= TIMESTAMP '2026-11-02 13:00:00.000' AND "event_time" < TIMESTAMP '2026-11-04 17:00:00.000') e GROUP BY e."at", e."value") c CROSS JOIN (SELECT DATE_TRUNC('day', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '2026-11-03 00:00:00' AND c."at" < TIMESTAMP '2026-11-05 00:00:00';

-- delete the figures
DELETE FROM "logweir"."hourly_counts" WHERE "stream" = 'heard' AND "hour" >= TIMESTAMP '2026-11-03 00:00:00' AND "hour" < TIMESTAMP '2026-11-05 00:00:00' AND "hour" >= (SELECT DATE_TRUNC('hour', "counted_from") FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000');

-- count
INSERT INTO "logweir"."hourly_counts" ("stream", "hour", "dimension", "value", "events", "devices", "is_complete", "is_final", "counted_at") SELECT CAST('heard' AS VARCHAR(63)), c."at", CAST('channel' AS VARCHAR(127)), c."value", c."events", c."devices", CASE WHEN c."at" + INTERVAL '1 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '1 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", e."value", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('hour', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device", CAST(CASE WHEN OCTET_LENGTH("channel") <= 256 THEN "channel" ELSE LEFT("channel", 64) END AS VARCHAR(256)) AS "value" FROM "logweir"."heard" WHERE "event_time" >= TIMESTAMP '2026-11-02 13:00:00.000' AND "event_time" < TIMESTAMP '2026-11-04 17:00:00.000') e GROUP BY e."at", e."value") c CROSS JOIN (SELECT DATE_TRUNC('hour', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '2026-11-03 00:00:00' AND c."at" < TIMESTAMP '2026-11-05 00:00:00' UNION ALL SELECT CAST('heard' AS VARCHAR(63)), c."at", CAST('paid' AS VARCHAR(127)), c."value", c."events", c."devices", CASE WHEN c."at" + INTERVAL '1 hours' <= r."whole" THEN TRUE ELSE FALSE END, CASE WHEN c."at" + INTERVAL '1 hours' <= r."final_before" THEN TRUE ELSE FALSE END, TIMESTAMP '2026-11-20 00:00:00.000' FROM (SELECT e."at", e."value", COUNT(*) AS "events", COUNT(DISTINCT e."device") AS "devices" FROM (SELECT DATE_TRUNC('hour', CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "event_time")) AS "at", "ad_id" AS "device", CASE WHEN "paid" THEN 'true' WHEN NOT "paid" THEN 'false' END AS "value" FROM "logweir"."heard" WHERE "event_time" >= TIMESTAMP '2026-11-02 13:00:00.000' AND "event_time" < TIMESTAMP '2026-11-04 17:00:00.000') e GROUP BY e."at", e."value") c CROSS JOIN (SELECT DATE_TRUNC('hour', "counted_from") AS "from", "final_before", CONVERT_TIMEZONE('UTC', 'Asia/Seoul', "complete_through") AS "whole" FROM "logweir"."rollup_status" WHERE "stream" = 'heard' AND "definition" = 'Asia/Seoul of ad_id, by channel, paid' AND "restated_at" = TIMESTAMP '2026-11-20 00:00:00.000') r WHERE c."at" >= r."from" AND c."at" >= TIMESTAMP '2026-11-03 00:00:00' AND c."at" < TIMESTAMP '2026-11-05 00:00:00';

