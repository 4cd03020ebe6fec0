//! Keys change: none that is valid is refused, and none that is not is let in.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use crate::{
    client::{Client, Post},
    process::{Place, Process, Server},
    reload::{await_reload, in_force, post_on, reload, reloads, serve, until, write},
};

pub(crate) const REFUSED: &str = "the configuration was read again and is refused: everything stays as it was";

/// The secret of a generation.
fn secret(generation: u64) -> String {
    format!("hush-the-secret-of-generation-{generation}")
}

/// A keys file with the secrets of these generations, the odd ones hashed, all of one key.
fn keys(place: &Place, generations: &[u64]) -> String {
    let section = |generation: &u64| {
        let secret = secret(*generation);
        let secret = if generation.is_multiple_of(2) {
            format!("key = '{secret}'")
        } else {
            format!("key_hash = 'sha256:{}'", sha256(place, &secret))
        };
        format!("[[keys]]\nname = 'sdk'\n{secret}\n")
    };
    generations.iter().map(section).collect()
}

/// The SHA-256 of `text`, as the system's own tool makes it.
fn sha256(place: &Place, text: &str) -> String {
    place.write("secret", text);
    let output = std::process::Command::new("sha256sum").arg(place.path("secret")).output().unwrap();
    fs::remove_file(place.path("secret")).unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// Replaces a file as a whole, as a careful operator does.
fn replace(place: &Place, name: &str, text: &str) {
    place.write("next", text);
    fs::rename(place.path("next"), place.path(name)).unwrap();
}

#[test]
fn no_request_with_a_valid_key_is_refused_while_keys_rotate_under_load() {
    const CLIENTS: usize = 3;
    const ROTATIONS: u64 = 6;
    let place = Place::new();
    replace(&place, "keys.toml", &keys(&place, &[0]));
    let server = serve(&place, "keys_file = 'keys.toml'\n[watch]\ninterval = '1s'\n");
    let valid = AtomicU64::new(0);
    let used = [(); CLIENTS].map(|()| AtomicU64::new(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = used
            .iter()
            .map(|used| {
                scope.spawn(|| {
                    let mut client = Client::connect(server.address).unwrap();
                    let mut posted = 0;
                    while !done.load(Ordering::Relaxed) {
                        let generation = valid.load(Ordering::SeqCst);
                        assert_eq!(post_on(&mut client, &secret(generation), "heard", "[{}]"), 200, "{generation}");
                        used.store(generation, Ordering::SeqCst);
                        posted += 1;
                    }
                    posted
                })
            })
            .collect();
        let mut old = Client::connect(server.address).unwrap();
        for generation in 1..=ROTATIONS {
            // By a signal or without one.
            let take_over = |text: &str| {
                let before = reloads(&server, "taken_over");
                replace(&place, "keys.toml", text);
                if generation.is_multiple_of(2) {
                    reload(&server, "taken_over");
                } else {
                    await_reload(&server, "taken_over", before);
                }
            };
            take_over(&keys(&place, &[generation - 1, generation]));
            valid.store(generation, Ordering::SeqCst);
            until("everybody to use the new secret", || {
                used.iter().all(|used| used.load(Ordering::SeqCst) == generation).then_some(())
            });
            assert_eq!(post_on(&mut old, &secret(generation - 1), "heard", "[{}]"), 200, "both are valid");
            take_over(&keys(&place, &[generation]));
            assert_eq!(post_on(&mut old, &secret(generation - 1), "heard", "[{}]"), 401, "the old one is out at once");
        }
        done.store(true, Ordering::Relaxed);
        for client in clients {
            let posted: u64 = client.join().unwrap();
            assert!(posted > ROTATIONS, "{posted}");
        }
    });
    let ended = server.stop();
    assert!(!ended.stderr.contains("hush"), "{}", ended.stderr);
}

#[test]
fn an_event_is_the_same_under_the_old_secret_and_the_new() {
    let place = Place::new();
    place.write("keys.toml", &keys(&place, &[0, 1]));
    let server = serve(&place, "keys_file = 'keys.toml'\n");
    let mut client = Client::connect(server.address).unwrap();
    let batch = "{\"batch_id\": \"a\", \"events\": [{\"n\": 1}]}";
    assert_eq!(post_on(&mut client, &secret(0), "heard", batch), 200);
    assert_eq!(post_on(&mut client, &secret(1), "heard", batch), 200);
    place.write("keys.toml", &keys(&place, &[2]));
    reload(&server, "taken_over");
    assert_eq!(post_on(&mut client, &secret(2), "heard", batch), 200);
    server.stop();
    let objects = crate::objects::read(&place.path("objects"));
    let ids: Vec<_> =
        objects.iter().flat_map(|object| &object.lines).map(|line| line.get("event_id").unwrap().to_string()).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (3, 1), "{ids:?}");
}

/// As Kubernetes does with a mounted secret.
#[test]
fn a_link_that_points_elsewhere_is_noticed_without_a_signal() {
    let place = Place::new();
    for generation in [0, 1] {
        fs::create_dir(place.path(&format!("v{generation}"))).unwrap();
        place.write(&format!("v{generation}/keys.toml"), &keys(&place, &[generation]));
    }
    symlink("v0", place.path("data-of-the-mount")).unwrap();
    symlink("data-of-the-mount/keys.toml", place.path("keys.toml")).unwrap();
    let server = serve(&place, "keys_file = 'keys.toml'\n[watch]\ninterval = '1s'\n");
    let mut client = Client::connect(server.address).unwrap();
    assert_eq!(post_on(&mut client, &secret(0), "heard", "[{}]"), 200);
    assert_eq!(post_on(&mut client, &secret(1), "heard", "[{}]"), 401);
    symlink("v1", place.path("next")).unwrap();
    fs::rename(place.path("next"), place.path("data-of-the-mount")).unwrap();
    await_reload(&server, "taken_over", 0);
    assert_eq!(post_on(&mut client, &secret(0), "heard", "[{}]"), 401);
    assert_eq!(post_on(&mut client, &secret(1), "heard", "[{}]"), 200);
    let told = server.entry("the configuration was read again and is in force");
    assert_eq!(told["changed"], "keys.sdk.key");
    server.stop();
}

#[test]
fn a_keys_file_that_is_broken_is_told_once_and_changes_nothing_until_it_is_mended() {
    let place = Place::new();
    place.write("keys.toml", &keys(&place, &[0]));
    let server = serve(&place, "keys_file = 'keys.toml'\n[watch]\ninterval = '1s'\n");
    let before = in_force(&server);
    let broken = format!("{}\n[[keys]]\nname = 'web'\nkey = \"{}\n", keys(&place, &[1]), secret(7));
    place.write("keys.toml", &broken);
    await_reload(&server, "refused", 0);
    let mut client = Client::connect(server.address).unwrap();
    assert_eq!(post_on(&mut client, &secret(0), "heard", "[{}]"), 200, "the old key is still the key");
    assert_eq!(post_on(&mut client, &secret(1), "heard", "[{}]"), 401);
    assert_eq!(in_force(&server), before);
    // Looked at many times more, and told no more.
    thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(reloads(&server, "refused"), 1);
    fs::remove_file(place.path("keys.toml")).unwrap();
    await_reload(&server, "refused", 1);
    place.write("keys.toml", &keys(&place, &[1]));
    await_reload(&server, "taken_over", 0);
    assert_eq!(post_on(&mut client, &secret(1), "heard", "[{}]"), 200);
    let ended = server.stop();
    let refused = ended.entry(REFUSED).unwrap();
    assert!(refused["problems"].as_str().unwrap().starts_with("keys.toml:7: "), "{refused}");
    assert_eq!(ended.stderr.matches(REFUSED).count(), 2, "{}", ended.stderr);
    assert!(!ended.stderr.contains("hush"), "{}", ended.stderr);
}

#[test]
fn the_last_key_cannot_be_taken_from_a_socket_that_others_can_reach() {
    let place = Place::new();
    write(&place, "[[keys]]\nname = 'sdk'\nkey = 'the-key-of-the-sdk-0'\n");
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut command = crate::activation::activated(&place, listener, 1);
    command.args(["--config", "logweir.toml"]);
    let server = Server::start(command);
    write(&place, "[hints]\nsampling = 0.5\n");
    reload(&server, "refused");
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    let mut client = Client::connect(local).unwrap();
    let answer = client.post(Post { stream: "heard", headers: &[], body: b"[{}]" }).unwrap();
    assert_eq!((answer.status, answer.header("logweir-sampling")), (401, None), "nothing of it is in force");
    server.stop();
}

/// Where a proxy of the same machine stands in front, a loopback address is everybody's.
#[test]
fn the_last_key_cannot_be_taken_from_a_socket_of_this_machine_either() {
    let place = Place::new();
    place.write("keys.toml", &keys(&place, &[0]));
    let server = serve(&place, "keys_file = 'keys.toml'\n[watch]\ninterval = '1s'\n");
    let before = in_force(&server);
    let mut client = Client::connect(server.address).unwrap();
    // As a command leaves it that fails: `logweir key new --name 'A B' > keys.toml`.
    place.write("keys.toml", "");
    await_reload(&server, "refused", 0);
    // Without naming a file it is the same.
    write(&place, "[hints]\nsampling = 0.5\n");
    await_reload(&server, "refused", 1);
    assert_eq!(post_on(&mut client, &secret(0), "heard", "[{}]"), 200, "the key is still the key");
    assert_eq!(post_on(&mut client, &secret(1), "heard", "[{}]"), 401);
    let answer = client.post(Post { stream: "heard", headers: &[], body: b"[{}]" }).unwrap();
    assert_eq!((answer.status, answer.header("logweir-sampling")), (401, None), "nothing of it is in force");
    assert_eq!(in_force(&server), before);
    let ended = server.stop();
    assert!(ended.stderr.contains("keys_file names a file without a key"), "{}", ended.stderr);
    assert!(ended.stderr.contains("keys: none is left of those in force"), "{}", ended.stderr);
}

#[test]
fn who_names_a_file_of_keys_does_not_start_without_a_key() {
    let place = Place::new();
    place.write("keys.toml", "");
    write(&place, "keys_file = 'keys.toml'\n");
    let refused = place.run(&["--config", "logweir.toml"]);
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    assert!(refused.stderr.contains("logweir.toml:1: keys_file names a file without a key"), "{}", refused.stderr);
}

/// A file that could not be read yet, or was not sound, is read again once it is.
#[test]
fn a_keys_file_that_was_refused_is_noticed_when_it_is_mended() {
    let place = Place::new();
    let server = serve(&place, "[watch]\ninterval = '1s'\n[[keys]]\nname = 'old'\nkey = 'hush-the-old-key-of-all'\n");
    write(&place, "keys_file = 'keys.toml'\n[watch]\ninterval = '1s'\n");
    await_reload(&server, "refused", 0);
    place.write("keys.toml", &keys(&place, &[0]).replace("name", "nmae"));
    await_reload(&server, "refused", 1);
    place.write("keys.toml", &keys(&place, &[0]));
    await_reload(&server, "taken_over", 0);
    let mut client = Client::connect(server.address).unwrap();
    assert_eq!(post_on(&mut client, &secret(0), "heard", "[{}]"), 200);
    assert_eq!(post_on(&mut client, "hush-the-old-key-of-all", "heard", "[{}]"), 401);
    server.stop();
}

#[test]
fn a_keys_file_that_became_a_pipe_neither_deafens_the_process_nor_keeps_it_from_ending() {
    let place = Place::new();
    place.write("keys.toml", &keys(&place, &[0]));
    let server = serve(&place, "keys_file = 'keys.toml'\n[watch]\ninterval = '1s'\n");
    fs::remove_file(place.path("keys.toml")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("keys.toml"), rustix::fs::Mode::RUSR).unwrap();
    await_reload(&server, "refused", 0);
    reload(&server, "refused");
    let mut client = Client::connect(server.address).unwrap();
    assert_eq!(post_on(&mut client, &secret(0), "heard", "[{}]"), 200);
    let ended = server.stop();
    // Whoever looks through the place afterwards would wait for it.
    fs::remove_file(place.path("keys.toml")).unwrap();
    assert!(ended.stderr.contains("keys.toml, which cannot be read: it is no regular file"), "{}", ended.stderr);
}

#[test]
fn a_new_key_can_be_put_behind_a_line_that_does_not_end() {
    let place = Place::new();
    let made = place.run(&["key", "new", "--name", "web"]);
    assert!(made.stdout.starts_with("\n[[keys]]\n"), "{}", made.stdout);
    place.write("keys.toml", &format!("{}{}", keys(&place, &[0]).trim_end(), made.stdout));
    let server = serve(&place, "keys_file = 'keys.toml'\n");
    let mut client = Client::connect(server.address).unwrap();
    for key in [&secret(0), made.stderr.lines().last().unwrap()] {
        assert_eq!(post_on(&mut client, key, "heard", "[{}]"), 200);
    }
    server.stop();
}

#[test]
fn a_new_key_is_shown_once_and_its_section_opens_the_server() {
    let place = Place::new();
    let made = place.run(&["key", "new", "--name", "web", "--browser", "--stream", "heard", "--stream", "seen"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let key = made.stderr.lines().last().unwrap();
    assert!(key.starts_with("lw_") && key.len() == 67, "{key}");
    let hash = sha256(&place, key);
    let section = format!(
        "\n[[keys]]\nname = \"web\"\nkey_hash = \"sha256:{hash}\"\nstreams = [\"heard\", \"seen\"]\nbrowser = true"
    );
    assert_eq!(made.stdout, section);
    let again = place.run(&["key", "new", "--name", "web"]);
    assert_ne!(again.stderr.lines().last().unwrap(), key);
    place.write("keys.toml", &format!("{section}\n"));
    let server = serve(&place, "keys_file = 'keys.toml'\n");
    let mut client = Client::connect(server.address).unwrap();
    let headers = &[("content-type", "application/json")];
    for (stream, status) in
        [(format!("heard?key={key}"), 200), (format!("other?key={key}"), 403), ("heard".into(), 401)]
    {
        let answer = client.post(Post { stream: &stream, headers, body: b"[{}]" }).unwrap();
        assert_eq!(answer.status, status, "{stream}");
    }
    assert_eq!(post_on(&mut client, &hash, "heard", "[{}]"), 401, "the hash is no key");
    let ended = server.stop();
    assert!(!ended.stderr.contains(&key[3..]), "{}", ended.stderr);
    for arguments in
        [&["key", "new"][..], &["key", "new", "--name", "A b"], &["key", "new", "--name", "a", "--stream", "A"]]
    {
        let wrong = Process::start(place.command(arguments)).wait(crate::process::END);
        assert!(wrong.code != Some(0) && wrong.stdout.is_empty(), "{arguments:?}");
    }
}
