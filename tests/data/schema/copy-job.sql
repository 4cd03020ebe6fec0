-- The COPY JOBs of logweir in Amazon Redshift, by `logweir schema copy-job`. To be run once.
-- heard: load is "loader", and a job would load its objects a second time
-- order: load is "none": set it to "copy_job" for a job
-- any: it declares no fields, so it has no columns: declare those that are asked for
--
-- AUTO ON needs an S3 event integration of the bucket with this warehouse; see
-- https://docs.aws.amazon.com/redshift/latest/dg/loading-data-copy-job.html. COPY JOB CREATE is not done within a
-- transaction.

CREATE SCHEMA IF NOT EXISTS "logweir";

-- seen: what the job loads, copies and all. DISTKEY event_id: the view brings copies together by it.
CREATE TABLE IF NOT EXISTS "logweir"."seen_raw" (
    "event_id" VARCHAR(128) ENCODE ZSTD,
    "event_time" TIMESTAMP ENCODE RAW,
    "received_at" TIMESTAMP ENCODE AZ64,
    "batch_id" VARCHAR(128) ENCODE ZSTD,
    "client_time" TIMESTAMP ENCODE AZ64,
    "seen_at" TIMESTAMP ENCODE AZ64,
    "page" VARCHAR(128) ENCODE ZSTD,
    "details" SUPER ENCODE ZSTD,
    "extra" SUPER ENCODE ZSTD
)
DISTSTYLE KEY DISTKEY ("event_id")
COMPOUND SORTKEY ("event_time");
-- Each event once: of copies that were received within 604800 s (warehouse.dedupe_window) of one another, the first.
CREATE OR REPLACE VIEW "logweir"."seen" AS
SELECT "event_id", "event_time", "received_at", "batch_id", "client_time", "seen_at", "page", "details", "extra"
FROM (
    SELECT "event_id", "event_time", "received_at", "batch_id", "client_time", "seen_at", "page", "details", "extra",
        LAG("received_at") OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "copied at"
    FROM "logweir"."seen_raw"
) AS copies
WHERE "copied at" IS NULL OR "received_at" > DATEADD(second, 604800, "copied at");
-- What that view leaves out though it is no copy: it bears the id of another event, with other content than the
-- last that is shown before it.
CREATE OR REPLACE VIEW "logweir"."seen_conflicts" AS
SELECT later."event_id", later."event_time", later."received_at", later."batch_id", later."client_time", later."seen_at", later."page", later."details", later."extra"
FROM "logweir"."seen_raw" AS later
JOIN (
    SELECT "event_id", "event_time", "received_at", "batch_id", "client_time", "seen_at", "page", "details", "extra",
        LEAD("received_at") OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "shown next at"
    FROM "logweir"."seen"
) AS first ON first."event_id" = later."event_id"
    AND later."received_at" >= first."received_at"
    AND (first."shown next at" IS NULL OR later."received_at" < first."shown next at")
WHERE NOT (
    CASE WHEN later."seen_at" = first."seen_at" THEN TRUE ELSE later."seen_at" IS NULL AND first."seen_at" IS NULL END
    AND CASE WHEN later."page" = first."page" AND OCTET_LENGTH(later."page") = OCTET_LENGTH(first."page") THEN TRUE ELSE later."page" IS NULL AND first."page" IS NULL END
    AND CASE WHEN JSON_SERIALIZE(later."details") = JSON_SERIALIZE(first."details") THEN TRUE ELSE later."details" IS NULL AND first."details" IS NULL END
    AND CASE WHEN JSON_SERIALIZE(later."extra") = JSON_SERIALIZE(first."extra") THEN TRUE ELSE later."extra" IS NULL AND first."extra" IS NULL END
);
-- The job takes each key once, and reads one compression: it fails at objects of another one under the same prefix.
-- It takes nothing that was stored before the job was made: what that is, this loads, once and after the job was
-- made. What both take is one row in the view.
--   COPY "logweir"."seen_raw"
--   FROM 's3://example-logs/logs/seen/'
--   IAM_ROLE 'arn:aws:iam::123456789012:role/logweir-copy'
--   FORMAT JSON 'auto' GZIP TIMEFORMAT 'auto' COMPUPDATE OFF
--   REGION 'ap-northeast-2';
COPY "logweir"."seen_raw"
FROM 's3://example-logs/logs/seen/'
IAM_ROLE 'arn:aws:iam::123456789012:role/logweir-copy'
FORMAT JSON 'auto' GZIP TIMEFORMAT 'auto' COMPUPDATE OFF
REGION 'ap-northeast-2'
JOB CREATE logweir_seen AUTO ON;

-- Who is who. Give each role to users: GRANT ROLE "logweir_analyst" TO somebody.
--   writer   an operator: corrects rows, erases a device's, gives an object up in the ledger
--   loader   what `logweir load` logs in as: adds events, and never changes or deletes one
--   analyst  whoever asks: people, Tableau; reads events, figures and how far they are whole
-- Redshift creates no role that there is: uncomment these the first time.
-- CREATE ROLE "logweir_writer";
-- CREATE ROLE "logweir_loader";
-- CREATE ROLE "logweir_analyst";
GRANT USAGE ON SCHEMA "logweir" TO ROLE "logweir_writer";
GRANT USAGE ON SCHEMA "logweir" TO ROLE "logweir_loader";
GRANT USAGE ON SCHEMA "logweir" TO ROLE "logweir_analyst";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."seen_raw" TO ROLE "logweir_writer";
GRANT SELECT ON TABLE "logweir"."seen", "logweir"."seen_conflicts" TO ROLE "logweir_writer";
GRANT SELECT ON TABLE "logweir"."seen", "logweir"."seen_conflicts" TO ROLE "logweir_loader";
GRANT SELECT ON TABLE "logweir"."seen", "logweir"."seen_conflicts" TO ROLE "logweir_analyst";

-- The check: files that a job could not load (status E; P is waiting, I is in). A job never tries such a file again by
-- itself. Ask this every few minutes, and raise an alarm at the first row; the view forgets after some days.
SELECT job_name, file_location, file_name, status, enqueue_time
FROM SYS_COPY_JOB_DETAIL
WHERE job_name IN ('logweir_seen') AND status = 'E'
ORDER BY enqueue_time DESC;

-- To erase one device, as a writer: put its id for :'device' (psql: -v device=…) and run these as one transaction.
-- Where a field has private = "hash", the id is its hash: HMAC-SHA-256 under privacy.hash_key, in hexadecimal.
-- Copies that come later are loaded like any other event: run it again once warehouse.dedupe_window has passed.
-- Figures by day and hour hold counts only, and objects leave the bucket by its lifecycle.
--   BEGIN;
--   <column> of seen: rollups.streams.seen.device would tell which it is.
--   DELETE FROM "logweir"."seen_raw" WHERE <column> = :'device';
--   COMMIT;
--   VACUUM DELETE ONLY "logweir"."seen_raw";
