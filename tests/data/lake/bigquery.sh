#!/bin/sh
# Google BigQuery. OBJECTS is where the objects were copied to, by the Storage Transfer Service or by hand, under their
# keys: gs://bucket/ and what stands before the stream in each key. DATE chooses the partition: dt=2026-11-22.
# Grammar: https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json
#   https://cloud.google.com/bigquery/docs/schemas
#   https://cloud.google.com/bigquery/docs/reference/bq-cli-reference
#   https://cloud.google.com/bigquery/docs/managing-table-schemas
#
# {stream}_objects is what was loaded, {stream} has each event once: of its copies the one received first. To load an
# object twice does no harm but to the bill. Numbers in JSON that are no integers of 64 bits are doubles.
set -eu
: "${OBJECTS:?gs://bucket/prefix/}" "${DATE:?dt=YYYY-MM-DD}"

bq mk --force --dataset 'logweir'

cat > 'heard.schema.json' <<'JSON'
[
    {"mode":"REQUIRED","name":"event_id","type":"STRING"},
    {"mode":"REQUIRED","name":"event_time","type":"TIMESTAMP"},
    {"mode":"REQUIRED","name":"received_at","type":"TIMESTAMP"},
    {"mode":"NULLABLE","name":"batch_id","type":"STRING"},
    {"mode":"NULLABLE","name":"client_time","type":"TIMESTAMP"},
    {"mode":"NULLABLE","name":"heard_at","type":"TIMESTAMP"},
    {"mode":"NULLABLE","name":"device_id","type":"STRING"},
    {"mode":"NULLABLE","name":"user","type":"STRING"},
    {"mode":"NULLABLE","name":"order","type":"INTEGER"},
    {"mode":"NULLABLE","name":"group","type":"FLOAT"},
    {"mode":"NULLABLE","name":"select","type":"BOOLEAN"},
    {"mode":"NULLABLE","name":"table","type":"DATE"},
    {"mode":"NULLABLE","name":"from","type":"STRING"},
    {"mode":"NULLABLE","name":"price","precision":"38","scale":"4","type":"BIGNUMERIC"},
    {"mode":"NULLABLE","name":"_share","precision":"5","scale":"5","type":"NUMERIC"},
    {"mode":"NULLABLE","name":"copy_number","type":"INTEGER"},
    {"mode":"NULLABLE","name":"device","type":"JSON"},
    {"mode":"NULLABLE","name":"advertising_id","type":"STRING"},
    {"mode":"NULLABLE","name":"extra","type":"JSON"}
]
JSON
bq load --source_format=NEWLINE_DELIMITED_JSON --max_bad_records=0 \
    --schema_update_option=ALLOW_FIELD_ADDITION --schema_update_option=ALLOW_FIELD_RELAXATION \
    --time_partitioning_type=DAY --time_partitioning_field=received_at --clustering_fields=event_id \
    'logweir.heard_objects' "${OBJECTS}heard/${DATE}/*.ndjson.gz" 'heard.schema.json'
bq query --use_legacy_sql=false <<'SQL'
CREATE OR REPLACE VIEW `logweir.heard` AS
SELECT * FROM `logweir.heard_objects` AS o
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY o.event_id ORDER BY o.received_at) = 1;
SQL

cat > 'class.schema.json' <<'JSON'
[
    {"mode":"REQUIRED","name":"event_id","type":"STRING"},
    {"mode":"REQUIRED","name":"event_time","type":"TIMESTAMP"},
    {"mode":"REQUIRED","name":"received_at","type":"TIMESTAMP"},
    {"mode":"NULLABLE","name":"batch_id","type":"STRING"},
    {"mode":"NULLABLE","name":"client_time","type":"TIMESTAMP"}
]
JSON
bq load --source_format=NEWLINE_DELIMITED_JSON --max_bad_records=0 \
    --ignore_unknown_values \
    --schema_update_option=ALLOW_FIELD_ADDITION --schema_update_option=ALLOW_FIELD_RELAXATION \
    --time_partitioning_type=DAY --time_partitioning_field=received_at --clustering_fields=event_id \
    'logweir.class_objects' "${OBJECTS}class/${DATE}/*.ndjson.gz" 'class.schema.json'
bq query --use_legacy_sql=false <<'SQL'
CREATE OR REPLACE VIEW `logweir.class` AS
SELECT * FROM `logweir.class_objects` AS o
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY o.event_id ORDER BY o.received_at) = 1;
SQL
