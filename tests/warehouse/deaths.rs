//! Whatever dies at whatever moment: each event is in the table once, and the ledger says so.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use logweir::{
    sink::BoxFuture,
    warehouse::{
        Dialect,
        load::{Event, Failure, Guard, LoadError, PostgresSession, Report, Row, Script, Session, Step},
    },
};

use crate::{
    postgres::{self, Postgres},
    segments::RECEIVED,
    world::{HOUR, Line, World, address, batch, events},
};

/// What happens to the session of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// The database ends the connection before the step of this number; before COMMIT, if there are as many.
    Before(usize),
    /// The transaction has committed, and the loader dies before it knows.
    AfterCommit,
    /// The transaction has committed, and the loader is told that nobody knows.
    UnknownCommit,
    /// It has not, and the loader is told the same.
    UnknownRollback,
}

/// A session that dies in its `nth` load.
struct Dying {
    inner: PostgresSession,
    death: Death,
    nth: usize,
    /// Whether the loader dies with it; else it connects again.
    for_good: bool,
    dead: bool,
    /// The steps of the load in which it died.
    steps: Arc<AtomicUsize>,
}

impl Dying {
    fn is_dead(&self) -> Result<(), Failure> {
        let refused = Failure::Refused { step: "nothing".into(), why: "the loader is dead".into() };
        if self.dead { Err(refused) } else { Ok(()) }
    }

    async fn die(&mut self, script: &Script) -> Result<(), Failure> {
        self.steps.store(script.steps.len(), Ordering::Relaxed);
        self.dead = self.for_good;
        let unknown = Err(Failure::Ambiguous("the answer to COMMIT was lost".into()));
        match self.death {
            Death::Before(step) => {
                let mut script = script.clone();
                let sql = "SELECT pg_terminate_backend(pg_backend_pid())".to_owned();
                script.steps.insert(step, Step::Sql { what: "die", sql });
                let failed = self.inner.run(&script).await;
                assert!(matches!(failed, Err(Failure::Unreachable(_))), "{failed:?}");
                failed
            }
            Death::AfterCommit | Death::UnknownCommit => {
                self.inner.run(script).await.unwrap();
                unknown
            }
            Death::UnknownRollback => unknown,
        }
    }
}

impl Session for Dying {
    fn run<'a>(&'a mut self, script: &'a Script) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.is_dead()?;
            if script.steps.iter().any(|step| matches!(step, Step::Copy(_))) {
                self.nth = self.nth.wrapping_sub(1);
                if self.nth == 0 {
                    return self.die(script).await;
                }
            }
            self.inner.run(script).await
        })
    }

    fn rows<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            self.is_dead()?;
            self.inner.rows(sql).await
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }
}

/// Objects with copies within them and between them, in two transactions.
async fn stored(world: &World) -> (Vec<Line>, usize) {
    let one = [events("a", 20, RECEIVED), events("a", 5, RECEIVED)].concat();
    let two = [events("b", 20, RECEIVED + HOUR), events("a", 7, RECEIVED + HOUR)].concat();
    let segments = [one.clone(), two.clone()].map(|lines| vec![batch(lines[0].received, &lines)]).into_iter().collect();
    world.store(segments).await;
    (one.into_iter().chain(two).collect(), 2)
}

#[tokio::test]
async fn a_load_that_dies_at_any_step_leaves_nothing_behind_and_nothing_is_lost_or_doubled() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let (mut number, mut tried) = (0, 0);
    for for_good in [true, false] {
        let mut deaths = vec![Death::Before(0), Death::AfterCommit];
        if !for_good {
            deaths.extend([Death::UnknownCommit, Death::UnknownRollback]);
        }
        while let Some(death) = deaths.pop() {
            // What is done to the database is the same in each load; what is known of it is not.
            for nth in if matches!(death, Death::Before(_)) { 2..=2 } else { 1..=2 } {
                number += 1;
                let mut world = World::new(&postgres, &format!("w{number}"));
                world.limits.objects = 1;
                let (lines, objects) = stored(&world).await;
                let steps = Arc::new(AtomicUsize::new(0));
                let inner = world.session(postgres.port);
                let dying = Dying { inner, death, nth, for_good, dead: false, steps: Arc::clone(&steps) };
                let round = world.try_load(Box::new(dying)).await;
                match round {
                    Err(LoadError::Warehouse(Failure::Refused { .. })) => assert!(for_good),
                    Ok(report) => assert!(!for_good && report.streams[0].objects == 2, "{death:?}: {report}"),
                    Err(error) => panic!("{death:?}: {error}"),
                }
                if for_good {
                    let done = usize::from(death == Death::AfterCommit) + nth - 1;
                    let loaded = world.query(&postgres, "SELECT count(*) FROM {}.logweir_ledger");
                    assert_eq!(loaded, done.to_string(), "{death:?} {nth}");
                }
                world.load(&postgres).await;
                world.assert_once(&postgres, &lines, objects);
                tried += 1;
                let steps = steps.load(Ordering::Relaxed);
                assert!(steps > 10, "it did not die");
                if let Death::Before(step) = death
                    && step < steps
                {
                    deaths.push(Death::Before(step + 1));
                }
            }
        }
    }
    crate::tell(&format!("killed at {tried} points: lost 0, doubled 0"));
    assert!(tried > 30, "{tried}");
}

/// How a [`Cutter`] ends a connection that asks to commit.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The database never hears of it.
    Before,
    /// The loader never hears of it.
    After,
}

/// A proxy before the database that cuts the connections of the first commits.
struct Cutter {
    port: u16,
    left: Arc<AtomicUsize>,
}

impl Cutter {
    fn start(database: u16, cut: Cut, commits: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicUsize::new(commits));
        let commits = Arc::clone(&left);
        // It ends with the process of the test.
        thread::Builder::new()
            .spawn(move || {
                for client in listener.incoming() {
                    let (client, commits) = (client.unwrap(), Arc::clone(&commits));
                    let server = TcpStream::connect(("127.0.0.1", database)).unwrap();
                    let (mut back, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    thread::Builder::new().spawn(move || drop(std::io::copy(&mut back, &mut to))).unwrap();
                    thread::Builder::new().spawn(move || forward(client, server, cut, &commits)).unwrap();
                }
            })
            .unwrap();
        Self { port, left }
    }
}

fn forward(mut client: TcpStream, mut server: TcpStream, cut: Cut, commits: &AtomicUsize) {
    let mut piece = vec![0; 65_536];
    while let Ok(read @ 1..) = client.read(&mut piece) {
        let piece = &piece[..read];
        let commits_now = piece.windows(7).any(|bytes| bytes == b"COMMIT\0");
        let less = |left: usize| left.checked_sub(1);
        if commits_now && commits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            if matches!(cut, Cut::After) {
                client.shutdown(Shutdown::Both).unwrap();
                server.write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(200));
            }
            break;
        }
        if server.write_all(piece).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

#[tokio::test]
async fn a_connection_that_breaks_while_it_commits_is_cleared_up_by_the_ledger() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    for (number, cut) in [Cut::Before, Cut::After].into_iter().enumerate() {
        let mut world = World::new(&postgres, &format!("w{number}"));
        world.limits.objects = 1;
        let (lines, objects) = stored(&world).await;
        let cutter = Cutter::start(postgres.port, cut, 2);
        let session = PostgresSession::new(address(cutter.port, "postgres"), world.place());
        let report = world.try_load(Box::new(session)).await.unwrap();
        assert_eq!(cutter.left.load(Ordering::Relaxed), 0, "both commits were cut");
        let stream = &report.streams[0];
        assert_eq!((stream.objects, stream.rows.lines), (2, lines.len() as u64), "{cut:?} {report}");
        world.assert_once(&postgres, &lines, objects);
    }
}

#[tokio::test]
async fn a_database_that_is_killed_in_the_middle_and_comes_back_has_every_event_once() {
    if !postgres::is_installed() {
        return;
    }
    let mut postgres = Postgres::start();
    let mut world = World::new(&postgres, "w");
    world.limits.objects = 2;
    let mut lines = Vec::new();
    let mut segments = Vec::new();
    for segment in 0..24 {
        let some = events(&format!("s{segment}"), 400, RECEIVED + segment % 3 * HOUR);
        segments.push(vec![batch(some[0].received, &some)]);
        lines.extend(some);
    }
    world.store(segments).await;
    let port = postgres.port;
    let kills = 4;
    // It is killed while the load behind another one runs.
    let (now, told) = std::sync::mpsc::sync_channel::<()>(kills);
    let killer = thread::Builder::new().spawn(move || {
        for () in told {
            thread::sleep(Duration::from_millis(fastrand::u64(0..40)));
            postgres.kill();
            postgres.resume();
        }
        postgres
    });
    let mut now = Some(now);
    let mut loads = 0;
    let (mut rounds, mut again) = (0, 0);
    loop {
        rounds += 1;
        let mut watcher = |event: Event<'_>| {
            again += usize::from(matches!(event, Event::Again { .. }));
            loads += usize::from(matches!(event, Event::Loaded { .. }));
            if let (Event::Loaded { .. }, Some(now)) = (event, &now)
                && loads % 2 == 1
                && loads < 2 * kills
            {
                now.send(()).unwrap();
            }
        };
        match world.loader(Box::new(world.session(port))).round(true, &mut Report::default(), &mut watcher).await {
            Ok(()) => break,
            Err(LoadError::Warehouse(Failure::Unreachable(_))) if rounds < 10 => {}
            Err(error) => panic!("{error}"),
        }
    }
    drop(now.take());
    let postgres = tokio::task::spawn_blocking(move || killer.unwrap().join().unwrap()).await.unwrap();
    world.load(&postgres).await;
    world.assert_once(&postgres, &lines, 24);
    crate::tell(&format!("the database was killed {kills} times, and the loader tried again {again} times"));
    assert!(again > 0, "it was never killed while it loaded");
}

/// A session that counts how often another loader was first.
struct Counting {
    inner: PostgresSession,
    late: Arc<AtomicUsize>,
}

impl Session for Counting {
    fn run<'a>(&'a mut self, script: &'a Script) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let done = self.inner.run(script).await;
            self.late.fetch_add(usize::from(done == Err(Failure::Guard(Guard::NotLoaded))), Ordering::Relaxed);
            done
        })
    }

    fn rows<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
        self.inner.rows(sql)
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_loaders_at_once_load_no_object_twice_however_often_they_meet() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let mut world = World::new(&postgres, "w");
    world.limits.objects = 2;
    let (mut lines, mut objects, mut shared) = (Vec::new(), 0, 0);
    let late = Arc::new(AtomicUsize::new(0));
    for round in 0..12 {
        let mut segments = Vec::new();
        for segment in 0..6 {
            let some = [
                events(&format!("r{round}s{segment}"), 20, RECEIVED + round % 4 * HOUR),
                // A copy in each object.
                events("copy", 1, RECEIVED + round % 4 * HOUR),
            ];
            let some = some.concat();
            segments.push(vec![batch(some[0].received, &some)]);
            lines.extend(some);
            objects += 1;
        }
        world.store(segments).await;
        let loads = (0..3).map(|_| {
            let session = Counting { inner: world.session(postgres.port), late: Arc::clone(&late) };
            let mut loader = world.loader(Box::new(session));
            tokio::spawn(async move {
                let mut report = Report::default();
                loader.round(true, &mut report, &mut |_| ()).await.unwrap();
                report.streams[0].objects
            })
        });
        let mut loaded = Vec::new();
        for load in loads.collect::<Vec<_>>() {
            loaded.push(load.await.unwrap());
        }
        assert_eq!(loaded.iter().sum::<u64>(), 6, "{loaded:?}");
        shared += usize::from(loaded.iter().filter(|objects| **objects > 0).count() > 1);
        world.assert_once(&postgres, &lines, objects);
    }
    let late = late.load(Ordering::Relaxed);
    crate::tell(&format!(
        "three loaders shared the work in {shared} of 12 rounds, and {late} times one found another's objects loaded"
    ));
    assert!(late > 0, "they never met");
}

/// What stands for a statement time-out, or for too little memory.
#[tokio::test]
async fn a_batch_that_is_too_much_for_the_warehouse_is_loaded_in_parts_and_nothing_is_set_aside() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "much");
    world.query(
        &postgres,
        "CREATE FUNCTION {}.much() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF (SELECT count(*) FROM {}.heard_staging) > 25 THEN
                 RAISE EXCEPTION 'canceling statement due to statement timeout' USING ERRCODE = '57014';
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER much AFTER INSERT ON {}.heard_staging FOR EACH STATEMENT EXECUTE FUNCTION {}.much()",
    );
    let all: Vec<_> = (0..3).flat_map(|n| events(&format!("m{n}"), 20, RECEIVED)).collect();
    world.store(all.chunks(20).map(|some| vec![batch(RECEIVED, some)]).collect()).await;
    let report = world.load(&postgres).await;
    assert_eq!((report.streams[0].rows.loaded, report.streams[0].set_aside_objects), (60, Some(0)), "{report}");
    assert!(report.streams[0].loads == 3 && report.streams[0].problem.is_none(), "{report}");
    world.assert_once(&postgres, &all, 3);
}
