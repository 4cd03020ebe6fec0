//! What the spool already holds for sinks: whom a changed configuration leaves behind, and where a new sink begins.

use std::io;

use bytesize::ByteSize;

use crate::{
    app::stranded,
    config::{Config, Sink, SinkStart},
    spool::{Held, Survey, survey},
};

/// What is told of the spool's directory before a server runs on it as `config` says: a line each; nothing if there is no
/// spool yet.
pub(super) fn lines(config: &Config) -> Vec<String> {
    if !config.spool.keeps() {
        return match stranded(config) {
            Ok(stranded) => stranded.map(|stranded| format!("warning: {stranded}")).into_iter().collect(),
            Err(error) => vec![untold(config, &error)],
        };
    }
    match survey(&config.spool.dir) {
        Ok(found) => told(config, &found),
        Err(error) => vec![untold(config, &error)],
    }
}

fn untold(config: &Config, error: &io::Error) -> String {
    format!("warning: what the spool in {} holds cannot be told: {error}", config.spool.dir.display())
}

fn told(config: &Config, found: &Survey) -> Vec<String> {
    if found.held.is_empty() && found.segments == 0 {
        return Vec::new();
    }
    let dir = config.spool.dir.display();
    let segments = |count: usize| if count == 1 { "1 segment".to_owned() } else { format!("{count} segments") };
    let lacked = |held: &Held| format!("{} ({})", segments(held.segments), ByteSize(held.bytes));
    let is_configured = |held: &&Held| config.sinks.iter().any(|sink| sink.name == held.sink);
    let removed = found.held.iter().filter(|held| !is_configured(held)).map(|held| {
        let sink = &held.sink;
        if held.segments == 0 {
            return format!("warning: sink {sink} is not configured any more; the spool in {dir} holds nothing that it lacks");
        }
        format!(
            "warning: sink {sink} is not configured any more, and has not taken {} of the spool in {dir}: nothing is kept for it \
             once a server starts; to let it take them, configure it once more",
            lacked(held)
        )
    });
    let added = config.sinks.iter().filter(|sink| !found.held.iter().any(|held| held.sink == sink.name)).map(|sink| {
        let Sink { name, start, .. } = sink;
        let all = format!("{} ({})", segments(found.segments), ByteSize(found.bytes));
        let begins = match start {
            SinkStart::Oldest => format!("at the oldest of the {all} there"),
            SinkStart::Now => format!("with what comes, and takes nothing of the {all} there"),
        };
        format!("sink {name} has no place in the spool in {dir} yet: it begins {begins}, or where it stood if it was there before")
    });
    removed.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Spool;

    fn config(sinks: Vec<Sink>) -> Config {
        Config { sinks, spool: Spool { dir: "here".into(), ..Spool::default() }, ..Config::default() }
    }

    fn held(sink: &str, segments: usize, bytes: u64) -> Held {
        Held { sink: sink.to_owned(), segments, bytes }
    }

    #[test]
    fn what_a_sink_lacks_that_is_configured_no_more_is_told_and_where_a_new_one_begins() {
        let found = Survey {
            held: vec![held("files", 2, 9), held("gone", 3, 3 << 20), held("idle", 0, 0), held("late", 1, 1_024)],
            segments: 3,
            bytes: 3 << 20,
        };
        let newcomer = Sink { start: SinkStart::Now, ..Sink::file("now", "x") };
        let told = told(&config(vec![Sink::file("files", "objects"), Sink::firehose("hose", "x"), newcomer]), &found);
        assert_eq!(
            told,
            [
                "warning: sink gone is not configured any more, and has not taken 3 segments (3.0 MiB) of the spool in here: \
                 nothing is kept for it once a server starts; to let it take them, configure it once more",
                "warning: sink idle is not configured any more; the spool in here holds nothing that it lacks",
                "warning: sink late is not configured any more, and has not taken 1 segment (1.0 KiB) of the spool in here: \
                 nothing is kept for it once a server starts; to let it take them, configure it once more",
                "sink hose has no place in the spool in here yet: it begins at the oldest of the 3 segments (3.0 MiB) there, or \
                 where it stood if it was there before",
                "sink now has no place in the spool in here yet: it begins with what comes, and takes nothing of the 3 segments \
                 (3.0 MiB) there, or where it stood if it was there before",
            ]
        );
    }

    #[test]
    fn nothing_is_told_of_a_spool_that_is_not_there_yet_or_that_keeps_nothing() {
        assert_eq!(told(&config(vec![Sink::file("files", "objects")]), &Survey::default()), [""; 0]);
        let mut none = config(vec![Sink::file("files", "objects")]);
        none.spool.kind = crate::config::SpoolKind::None;
        none.spool.dir = "/".into();
        assert_eq!(lines(&none), [""; 0]);
        let missing = Config { spool: Spool { dir: "no/such/dir".into(), ..Spool::default() }, ..Config::default() };
        assert_eq!(lines(&missing), [""; 0]);
    }
}
