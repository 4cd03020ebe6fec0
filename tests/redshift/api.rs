//! A stub of the Data API (AWS JSON 1.1 over HTTP) that executes on a real PostgreSQL.
//!
//! It knows `BatchExecuteStatement` as one transaction, `ExecuteStatement`, `DescribeStatement` with its wait,
//! `CancelStatement` and `GetStatementResult` in pages, and runs a `ClientToken` once. A script says which requests meet which
//! fault. It ends, with its connections, when it is dropped.

use std::{
    collections::{HashMap, VecDeque},
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use flate2::read::GzDecoder;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::warehouse::BUCKET;

const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
const SILENCE: Duration = Duration::from_mins(1);

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It has no effect, and is answered with this status and code.
    Answer(u16, &'static str),
    /// It has effect, and is answered with this status and code.
    AnswerAfter(u16, &'static str),
    /// It has no effect; the connection is closed.
    Lose,
    /// It has effect; the connection is closed.
    LoseAfter,
    /// It has effect and gets no answer.
    SilenceAfter,
    /// It has no effect and gets no answer.
    Silence,
}

/// What happens at the end of the next transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// It is rolled back, and this is told.
    Refused(&'static str),
    /// It is committed, and this is told.
    DoneBut(&'static str),
}

#[derive(Default)]
struct Statement {
    subs: Vec<Sub>,
    status: &'static str,
    error: Option<String>,
    rows: Vec<Vec<Option<String>>>,
    is_batch: bool,
    cancel: Option<tokio_postgres::CancelToken>,
    cancelled: bool,
}

#[derive(Default)]
struct Sub {
    status: &'static str,
    error: Option<String>,
    query: i64,
}

struct State {
    port: u16,
    bucket: PathBuf,
    script: Mutex<VecDeque<(&'static str, usize, Fault)>>,
    statements: Mutex<HashMap<String, Statement>>,
    tokens: Mutex<HashMap<String, String>>,
    seen: Mutex<Vec<(String, Value)>>,
    commit: Mutex<Option<Commit>>,
    changed: Notify,
    queries: Mutex<i64>,
}

/// The stub.
pub(crate) struct Api {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl Api {
    /// How many rows a page of a result has.
    pub(crate) const PAGE: usize = 100;

    /// Starts one on a free port of 127.0.0.1, in front of the PostgreSQL at `port`, for the objects below `bucket`.
    pub(crate) async fn start(port: u16, bucket: PathBuf) -> Self {
        let state = Arc::new(State {
            port,
            bucket,
            script: Mutex::default(),
            statements: Mutex::default(),
            tokens: Mutex::default(),
            seen: Mutex::default(),
            commit: Mutex::default(),
            changed: Notify::new(),
            queries: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, accepting }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next `times` requests for `operation` that no earlier fault takes meet `fault`.
    pub(crate) fn fault(&self, operation: &'static str, times: usize, fault: Fault) {
        self.state.script.lock().unwrap().push_back((operation, times, fault));
    }

    pub(crate) fn faults_left(&self) -> usize {
        self.state.script.lock().unwrap().iter().map(|(_, times, _)| times).sum()
    }

    /// How the next transaction ends.
    pub(crate) fn commit(&self, commit: Commit) {
        *self.state.commit.lock().unwrap() = Some(commit);
    }

    /// How many statements and batches were taken for execution.
    pub(crate) fn executed(&self) -> usize {
        self.state.statements.lock().unwrap().len()
    }

    /// The requests for `operation` so far.
    pub(crate) fn seen(&self, operation: &str) -> Vec<Value> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().filter(|(of, _)| of == operation).map(|(_, body)| body.clone()).collect()
    }

    /// Waits until nothing is being executed.
    pub(crate) async fn rest(&self) {
        while self.state.statements.lock().unwrap().values().any(|one| !is_over(one.status)) {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn is_over(status: &str) -> bool {
    matches!(status, "FINISHED" | "FAILED" | "ABORTED")
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        let service = service_fn(move |request| handle(Arc::clone(&state), request));
        connections
            .spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn handle(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Cut> {
    let target = request.headers()["x-amz-target"].to_str().unwrap();
    let operation = target.strip_prefix("RedshiftData.").unwrap().to_owned();
    assert!(request.headers().contains_key("authorization"));
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await.map_err(|_| Cut)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    state.seen.lock().unwrap().push((operation.clone(), body.clone()));
    let fault = state.meet(&operation);
    match fault {
        Some(Fault::Answer(status, code)) => return Ok(error(status, code, "as told")),
        Some(Fault::Lose) => return Err(Cut),
        Some(Fault::Silence) => {
            sleep(SILENCE).await;
            return Err(Cut);
        }
        _ => {}
    }
    let answer = state.serve(&operation, body).await;
    match fault {
        Some(Fault::AnswerAfter(status, code)) => Ok(error(status, code, "as told")),
        Some(Fault::LoseAfter) => Err(Cut),
        Some(Fault::SilenceAfter) => {
            sleep(SILENCE).await;
            Err(Cut)
        }
        _ => Ok(match answer {
            Ok(body) => respond(200, &body, None),
            Err((code, message)) => error(400, code, &message),
        }),
    }
}

fn error(status: u16, code: &str, message: &str) -> Response<Full<bytes::Bytes>> {
    respond(status, &json!({"__type": code, "Message": message}), Some(code))
}

fn respond(status: u16, body: &Value, code: Option<&str>) -> Response<Full<bytes::Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/x-amz-json-1.1".parse().unwrap());
    if let Some(code) = code {
        response.headers_mut().insert("x-amzn-errortype", code.parse().unwrap());
    }
    response
}

fn rows_of(messages: &[SimpleQueryMessage]) -> Vec<Vec<Option<String>>> {
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|place| row.get(place).map(str::to_owned)).collect()),
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

type Answer = Result<Value, (&'static str, String)>;

impl State {
    fn meet(&self, operation: &str) -> Option<Fault> {
        let mut script = self.script.lock().unwrap();
        let place = script.iter().position(|(on, _, _)| *on == operation)?;
        let (_, times, fault) = &mut script[place];
        let fault = *fault;
        *times -= 1;
        if *times == 0 {
            script.remove(place);
        }
        Some(fault)
    }

    async fn serve(self: &Arc<Self>, operation: &str, body: Value) -> Answer {
        match operation {
            "BatchExecuteStatement" => {
                let sqls: Vec<String> = serde_json::from_value(body["Sqls"].clone()).unwrap();
                if sqls.len() > 40 || sqls.iter().any(|sql| sql.len() > 100_000) {
                    return Err(("ValidationException", "too many, or too long".to_owned()));
                }
                Ok(self.execute(&body, sqls, true))
            }
            "ExecuteStatement" => Ok(self.execute(&body, vec![body["Sql"].as_str().unwrap().to_owned()], false)),
            "DescribeStatement" => {
                let wait = Duration::from_secs(body["WaitTimeSeconds"].as_u64().unwrap_or(0));
                let id = body["Id"].as_str().unwrap();
                let over = async {
                    loop {
                        let changed = self.changed.notified();
                        if self.statements.lock().unwrap().get(id).is_none_or(|one| is_over(one.status)) {
                            return;
                        }
                        changed.await;
                    }
                };
                let _ = timeout(wait, over).await;
                self.describe(id)
            }
            "CancelStatement" => {
                let token = {
                    let mut statements = self.statements.lock().unwrap();
                    let one = statements.get_mut(body["Id"].as_str().unwrap()).unwrap();
                    one.cancelled = true;
                    one.cancel.clone()
                };
                if let Some(token) = token {
                    token.cancel_query(NoTls).await.unwrap();
                }
                Ok(json!({"Status": true}))
            }
            "GetStatementResult" => {
                let statements = self.statements.lock().unwrap();
                let rows = &statements[body["Id"].as_str().unwrap()].rows;
                let from: usize = body["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let field = |value: &Option<String>| match value {
                    Some(text) => json!({"stringValue": text}),
                    None => json!({"isNull": true}),
                };
                let page: Vec<Vec<Value>> =
                    rows.iter().skip(from).take(Api::PAGE).map(|row| row.iter().map(field).collect()).collect();
                let next = from + page.len();
                let mut answer = json!({"Records": page, "TotalNumRows": rows.len()});
                if next < rows.len() {
                    answer["NextToken"] = json!(next.to_string());
                }
                Ok(answer)
            }
            other => panic!("nobody asks for {other}"),
        }
    }

    fn execute(self: &Arc<Self>, body: &Value, sqls: Vec<String>, is_batch: bool) -> Value {
        assert_eq!((&body["WorkgroupName"], &body["Database"]), (&json!("analysts"), &json!("dev")));
        let token = body["ClientToken"].as_str().unwrap().to_owned();
        assert!(token.len() <= 64);
        let mut tokens = self.tokens.lock().unwrap();
        if let Some(id) = tokens.get(&token) {
            return json!({"Id": id});
        }
        let id = format!("statement-{}", tokens.len());
        tokens.insert(token, id.clone());
        let subs = sqls.iter().map(|_| Sub { status: "SUBMITTED", ..Sub::default() }).collect();
        let statement = Statement { subs, status: "STARTED", is_batch, ..Statement::default() };
        self.statements.lock().unwrap().insert(id.clone(), statement);
        let (state, named) = (Arc::clone(self), id.clone());
        tokio::spawn(async move { state.run(&named, sqls, is_batch).await });
        json!({"Id": id})
    }

    fn describe(&self, id: &str) -> Answer {
        let statements = self.statements.lock().unwrap();
        let Some(one) = statements.get(id) else {
            return Err(("ResourceNotFoundException", "no such statement".to_owned()));
        };
        let mut answer = json!({"Id": id, "Status": one.status, "HasResultSet": !one.is_batch, "RedshiftPid": 1});
        if let Some(error) = &one.error {
            answer["Error"] = json!(error);
        }
        if one.is_batch {
            let subs = one.subs.iter().enumerate().map(|(place, sub)| {
                let mut told =
                    json!({"Id": format!("{id}:{}", place + 1), "Status": sub.status, "RedshiftQueryId": sub.query});
                if let Some(error) = &sub.error {
                    told["Error"] = json!(error);
                }
                told
            });
            answer["SubStatements"] = subs.collect();
        }
        Ok(answer)
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Statement)) {
        change(self.statements.lock().unwrap().get_mut(id).unwrap());
        self.changed.notify_waiters();
    }

    async fn run(&self, id: &str, sqls: Vec<String>, is_batch: bool) {
        let config = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port);
        let (client, driver) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        let driving = tokio::spawn(driver);
        self.change(id, |one| one.cancel = Some(client.cancel_token()));
        client.batch_execute("SET timezone TO 'UTC'").await.unwrap();
        if is_batch {
            client.batch_execute("BEGIN").await.unwrap();
        }
        let mut rows = Vec::new();
        let mut failed = None;
        for (place, sql) in sqls.iter().enumerate() {
            let query = {
                let mut queries = self.queries.lock().unwrap();
                *queries += 1;
                *queries
            };
            self.change(id, |one| (one.subs[place].status, one.subs[place].query) = ("STARTED", query));
            let answer = match self.translated(sql, query) {
                Ok(sql) => client.simple_query(&sql).await.map_err(|error| match error.as_db_error() {
                    Some(told) => format!("ERROR: {}", told.message()),
                    None => error.to_string(),
                }),
                Err(error) => Err(error),
            };
            match answer {
                Ok(messages) => {
                    rows = rows_of(&messages);
                    self.change(id, |one| one.subs[place].status = "FINISHED");
                }
                Err(error) => {
                    failed = Some((place, error));
                    break;
                }
            }
        }
        let commit = self.commit.lock().unwrap().take();
        let mut error = None;
        if is_batch {
            let end =
                if failed.is_none() && !matches!(commit, Some(Commit::Refused(_))) { "COMMIT" } else { "ROLLBACK" };
            client.batch_execute(end).await.unwrap();
            if let Some(Commit::Refused(text) | Commit::DoneBut(text)) = commit {
                error = Some(text.to_owned());
            }
        }
        if let Some((place, text)) = &failed {
            // A row of what COPY could not load is there whatever becomes of the transaction.
            if let Some((before, detail)) = text.split_once('\u{1}') {
                client.batch_execute(detail).await.unwrap();
                error = Some(before.to_owned());
            } else {
                error = Some(text.clone());
            }
            let told = error.clone();
            self.change(id, |one| {
                let mut rest = one.subs.iter_mut().skip(*place);
                let sub = rest.next().unwrap();
                (sub.status, sub.error) = ("FAILED", told);
                rest.for_each(|sub| sub.status = "ABORTED");
            });
        }
        self.change(id, |one| {
            one.status = if one.cancelled && failed.is_some() {
                "ABORTED"
            } else if error.is_some() {
                "FAILED"
            } else {
                "FINISHED"
            };
            (one.error, one.rows, one.cancel) = (error, rows, None);
        });
        driving.abort();
    }

    /// What PostgreSQL is told instead of COPY: the lines of the objects that the manifest names. An error of COPY, with what
    /// adds a row to the system's view behind a byte 1.
    fn translated(&self, sql: &str, query: i64) -> Result<String, String> {
        let Some(rest) = sql.strip_prefix("COPY ") else { return Ok(sql.to_owned()) };
        let (table, rest) = rest.split_once(" (").unwrap();
        let (columns, rest) = rest.split_once(") FROM '").unwrap();
        let (manifest, rest) = rest.split_once('\'').unwrap();
        let compression = if rest.contains(" ZSTD ") { "ZSTD" } else { "GZIP" };
        assert_eq!(
            rest.replace(" ZSTD ", " GZIP "),
            " IAM_ROLE 'arn:aws:iam::123456789012:role/loader' MANIFEST FORMAT JSON 'auto ignorecase' GZIP \
             TIMEFORMAT 'auto' MAXERROR 0 COMPUPDATE OFF STATUPDATE OFF REGION 'eu-west-1'"
        );
        let gone = |url: &str| format!("ERROR: The specified S3 prefix '{url}' does not exist");
        let read = |url: &str| {
            let key = url.strip_prefix(&format!("s3://{BUCKET}/")).unwrap();
            fs::read(self.bucket.join(Path::new(key))).map_err(|_| gone(url))
        };
        let manifest: Value = serde_json::from_slice(&read(manifest)?).unwrap();
        let mut lines = Vec::new();
        for entry in manifest["entries"].as_array().unwrap() {
            let url = entry["url"].as_str().unwrap();
            let bad = |line: usize, column: &str, message: &str| {
                format!(
                    "ERROR: Load into table 'heard_staging' failed.  Check 'sys_load_error_detail' system table for \
                     details.\u{1}INSERT INTO sys_load_error_detail (query_id, file_name, line_number, column_name, \
                     column_type, error_code, error_message) VALUES ({query}, '{url}', {line}, '{column}', 'int8', 1207, \
                     '{message}')"
                )
            };
            let bytes = read(url)?;
            // As Redshift does, it goes by what it is told and not by the name.
            let text = if compression == "ZSTD" {
                zstd::decode_all(bytes.as_slice()).map_err(|_| bad(0, "", "Failed to decompress zstd"))?
            } else {
                let mut text = Vec::new();
                std::io::copy(&mut GzDecoder::new(bytes.as_slice()), &mut text)
                    .map_err(|_| bad(0, "", "Failed to decompress gzip"))?;
                text
            };
            let text = String::from_utf8(text).unwrap();
            for (place, line) in text.lines().enumerate() {
                let value: Value = serde_json::from_str(line).map_err(|_| bad(place + 1, "", "Invalid JSON"))?;
                if !value["n"].is_i64() {
                    return Err(bad(place + 1, "n", "Invalid digit, Value ''s3cret'', Pos 0, Type: Long"));
                }
                lines.push(format!("('{}'::json)", line.replace('\'', "''")));
            }
        }
        if lines.is_empty() {
            return Ok("SELECT 1".to_owned());
        }
        Ok(format!(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM (VALUES {}) AS v (line), \
             json_populate_record(NULL::{table}, line)",
            lines.join(", ")
        ))
    }
}
