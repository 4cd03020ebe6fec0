-- What has changed since OLD, for redshift.
-- streams.heard.fields.volume_2: is new and required; its column allows null, since rows and objects from before have none
-- streams.heard.fields.order: is removed: the column stays, null in what is loaded from now on; its values are collected in extra. A field of that name may only come back with the same type, BIGINT. If it was renamed, the new column begins empty
-- If a column is there already, a field of that name was removed before: go on only if its type is the same. If it is
-- another, declare a field of another name.
ALTER TABLE "logweir"."heard" ADD COLUMN "volume_2" BIGINT ENCODE AZ64;
ALTER TABLE "logweir"."heard" ALTER COLUMN "ad_id" TYPE VARCHAR(256);
ALTER TABLE "logweir"."heard_staging" ADD COLUMN "volume_2" BIGINT ENCODE AZ64;
ALTER TABLE "logweir"."heard_staging" ALTER COLUMN "ad_id" TYPE VARCHAR(256);
ALTER TABLE "logweir"."heard_conflicts" ADD COLUMN "volume_2" BIGINT ENCODE AZ64;
ALTER TABLE "logweir"."heard_conflicts" ALTER COLUMN "ad_id" TYPE VARCHAR(256);

-- fresh: its events, each once.
-- DISTKEY event_id: the loader joins what is staged to the table by it, and copies of an event meet on one slice; ids are
-- as good as random, so slices are even. SORTKEY event_time: analysts ask by it; received_at runs along with it, so the
-- loader's window skips blocks too.
CREATE TABLE IF NOT EXISTS "logweir"."fresh" (
    "event_id" VARCHAR(128) ENCODE ZSTD NOT NULL,
    "event_time" TIMESTAMP ENCODE RAW NOT NULL,
    "received_at" TIMESTAMP ENCODE AZ64 NOT NULL,
    "batch_id" VARCHAR(128) ENCODE ZSTD,
    "client_time" TIMESTAMP ENCODE AZ64,
    "what" BOOLEAN ENCODE ZSTD,
    "extra" SUPER ENCODE ZSTD
)
DISTSTYLE KEY DISTKEY ("event_id")
COMPOUND SORTKEY ("event_time");
-- What is copied from the objects, before it is known what is new; empty between two loads.
CREATE TABLE IF NOT EXISTS "logweir"."fresh_staging" (
    "event_id" VARCHAR(128) ENCODE ZSTD,
    "event_time" TIMESTAMP ENCODE AZ64,
    "received_at" TIMESTAMP ENCODE AZ64,
    "batch_id" VARCHAR(128) ENCODE ZSTD,
    "client_time" TIMESTAMP ENCODE AZ64,
    "what" BOOLEAN ENCODE ZSTD,
    "extra" SUPER ENCODE ZSTD
)
DISTSTYLE KEY DISTKEY ("event_id");
-- What bears the id of another event: set aside, for somebody to look at.
CREATE TABLE IF NOT EXISTS "logweir"."fresh_conflicts" (
    "event_id" VARCHAR(128) ENCODE ZSTD,
    "event_time" TIMESTAMP ENCODE AZ64,
    "received_at" TIMESTAMP ENCODE AZ64,
    "batch_id" VARCHAR(128) ENCODE ZSTD,
    "client_time" TIMESTAMP ENCODE AZ64,
    "what" BOOLEAN ENCODE ZSTD,
    "extra" SUPER ENCODE ZSTD,
    "load_id" VARCHAR(26) ENCODE ZSTD NOT NULL,
    "found_at" TIMESTAMP ENCODE AZ64 NOT NULL
)
DISTSTYLE KEY DISTKEY ("event_id");
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."fresh" TO ROLE "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."fresh_staging" TO ROLE "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."fresh_conflicts" TO ROLE "logweir_writer";
GRANT SELECT, INSERT ON TABLE "logweir"."fresh" TO ROLE "logweir_loader";
GRANT SELECT, INSERT, DELETE ON TABLE "logweir"."fresh_staging" TO ROLE "logweir_loader";
GRANT SELECT, INSERT ON TABLE "logweir"."fresh_conflicts" TO ROLE "logweir_loader";
GRANT SELECT ON TABLE "logweir"."fresh" TO ROLE "logweir_analyst";
GRANT SELECT ON TABLE "logweir"."fresh_conflicts" TO ROLE "logweir_analyst";
