// SPDX-License-Identifier: Apache-2.0
//! The trait over libberth, against the engine in memory.

mod common;

use berth::*;
use common::{both, fake, run, spec};
use std::any::Any;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FORCE: RemoveOptions = RemoveOptions { force: true, volumes: false };

#[test]
fn the_ten_verbs() {
    run(async {
        let runtime: Box<dyn Runtime> = Box::new(fake());
        assert_eq!(runtime.name(), "fake");
        let h = runtime.create(&spec("one", &["print hello", "eprint oh", "wait"])).await.unwrap();
        assert_eq!(h.name(), "one");
        assert_eq!(runtime.status(&h).await.unwrap().word, Word::Created);
        runtime.start(&h).await.unwrap();
        let status = runtime.status(&h).await.unwrap();
        assert_eq!((status.state, status.word, status.exit_code), (State::Running, Word::Running, None));
        assert!(status.started_usec.is_some() && status.ended_usec.is_none());
        let output = runtime.exec(&h, &["print inside", "exit 3"]).await.unwrap();
        assert_eq!((output.exit_code, output.stdout.as_slice()), (3, b"inside\n".as_slice()));
        assert!(runtime.stats(&h).await.unwrap().time_usec > 0);
        assert_eq!(runtime.resolve_host_port(&h, 80).await, None);
        runtime.stop(&h, Some(Duration::from_millis(250))).await.unwrap();
        assert_eq!(runtime.status(&h).await.unwrap().state, State::Stopped);
        let log = runtime.logs(&h, LogOptions::default()).await.unwrap().rest().await.unwrap();
        assert_eq!(log, b"hello\noh\n");
        runtime.remove(&h, RemoveOptions::default()).await.unwrap();
        assert_eq!(runtime.status(&h).await.unwrap_err().code, Code::NotFound);
    });
}

#[test]
fn a_failure_says_code_object_and_words() {
    run(async {
        let runtime = fake();
        let e = runtime.create(r#"{"name": "x", "imgae": "y"}"#).await.unwrap_err();
        assert_eq!(e.code, Code::Invalid);
        assert!(e.message.contains("imgae"), "{e}");
        assert!(e.to_string().ends_with("(INVALID)"), "{e}");
        let e = runtime.create(r#"{"name": "x", "image": "missing"}"#).await.unwrap_err();
        assert_eq!((e.code, e.code.name()), (Code::NotFound, "NOT_FOUND"));
        let e = runtime.create("{\0}").await.unwrap_err();
        assert_eq!(e.code, Code::Invalid);
    });
}

#[test]
fn states_are_the_seven_of_orchestrators() {
    let expected = [
        (Word::Creating, State::Creating),
        (Word::Created, State::Pending),
        (Word::Running, State::Running),
        (Word::Paused, State::Running),
        (Word::Restarting, State::Pending),
        (Word::Stopping, State::Stopping),
        (Word::Stopped, State::Stopped),
        (Word::Completed, State::Completed),
        (Word::Failed, State::Failed),
        (Word::Pending, State::Pending),
    ];
    for (word, state) in expected {
        assert_eq!(word.state(), state);
        assert_eq!(Word::from_number(word.number()), Some(word));
        assert_eq!(word.to_string(), format!("{word:?}").to_lowercase());
        assert_eq!(state.to_string(), format!("{state:?}").to_lowercase());
    }
    run(async {
        let runtime = fake();
        for (steps, word) in [(["exit 0"], Word::Completed), (["exit 7"], Word::Failed)] {
            let h = runtime.create(&spec("ends", &steps)).await.unwrap();
            runtime.start(&h).await.unwrap();
            let status = runtime.wait(&h).await.unwrap();
            assert_eq!((status.word, status.state), (word, word.state()));
            assert!(status.exit_code.is_some());
            runtime.remove(&h, FORCE).await.unwrap();
        }
        let h = runtime.create(&spec("paused", &["wait"])).await.unwrap();
        runtime.start(&h).await.unwrap();
        runtime.pause(&h).await.unwrap();
        let status = runtime.status(&h).await.unwrap();
        assert_eq!((status.word, status.state), (Word::Paused, State::Running));
    });
}

#[test]
fn a_handle_is_a_value_that_can_be_written_down() {
    run(async {
        let runtime = fake();
        let h = runtime.create(&spec("kept", &["wait"])).await.unwrap();
        let read: Handle = h.to_string().parse().unwrap();
        assert_eq!(read, h);
        runtime.start(&read).await.unwrap();
        assert_eq!(runtime.find("kept").await.unwrap(), h);
        assert_eq!(runtime.list().await.unwrap(), vec![h]);
        assert_eq!("nonsense".parse::<Handle>().unwrap_err().code, Code::Invalid);
        let own = Handle::new("mine", "web", [7; 16], "m").unwrap();
        assert_eq!((own.runtime(), own.name(), own.metadata()), ("mine".into(), "web".into(), "m".into()));
        assert_eq!(own.to_string().parse::<Handle>().unwrap(), own);
        assert_eq!(Handle::new(&"x".repeat(32), "web", [0; 16], "").unwrap_err().code, Code::Invalid);
        assert_eq!(runtime.start(&own).await.unwrap_err().code, Code::Invalid);
    });
}

#[test]
fn a_wait_blocks_nobody_and_ends_with_the_program() {
    run(async {
        let runtime = fake();
        let h = runtime.create(&spec("one", &["sleep 60ms", "exit 4"])).await.unwrap();
        runtime.start(&h).await.unwrap();
        let begin = Instant::now();
        let (status, ticks) = both(runtime.wait(&h), async {
            let mut ticks = 0;
            while begin.elapsed() < Duration::from_millis(50) {
                tokio::time::sleep(Duration::from_millis(5)).await;
                ticks += 1;
            }
            ticks
        })
        .await;
        assert!(ticks >= 3, "the one thread was blocked: {ticks} ticks");
        assert_eq!(status.unwrap().exit_code, Some(4));
        assert!(begin.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn a_hundred_waits_on_one_thread() {
    run(async {
        let runtime = fake();
        let mut lives = Vec::new();
        for i in 0..100 {
            let runtime = runtime.clone();
            lives.push(tokio::spawn(async move {
                let h = runtime.create(&spec(&format!("w{i}"), &["sleep 30ms", "exit 5"])).await?;
                runtime.start(&h).await?;
                let status = runtime.wait(&h).await?;
                runtime.remove(&h, RemoveOptions::default()).await?;
                Ok::<_, Error>(status.exit_code)
            }));
        }
        for life in lives {
            assert_eq!(life.await.unwrap().unwrap(), Some(5));
        }
        assert!(runtime.list().await.unwrap().is_empty());
    });
}

#[test]
fn many_threads_use_one_runtime() {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    tokio.block_on(async {
        let runtime: std::sync::Arc<dyn Runtime> = std::sync::Arc::new(fake());
        let tasks: Vec<_> = (0..32)
            .map(|i| {
                let runtime = runtime.clone();
                tokio::spawn(async move {
                    let h = runtime.create(&spec(&format!("t{i}"), &["wait"])).await.unwrap();
                    runtime.start(&h).await.unwrap();
                    runtime.stop(&h, Some(Duration::ZERO)).await.unwrap();
                    runtime.remove(&h, RemoveOptions::default()).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(runtime.list().await.unwrap().is_empty());
    });
}

#[test]
fn a_log_is_followed_to_its_end() {
    run(async {
        let runtime = fake();
        let steps = ["print a", "sleep 30ms", "eprint b", "sleep 30ms", "print c"];
        let h = runtime.create(&spec("talks", &steps)).await.unwrap();
        runtime.start(&h).await.unwrap();
        let mut log = runtime.logs(&h, LogOptions { follow: true, ..Default::default() }).await.unwrap();
        let (log, _) = both(log.rest(), runtime.wait(&h)).await;
        assert_eq!(log.unwrap(), b"a\nb\nc\n");
        let mut last = runtime.logs(&h, LogOptions { tail: Some(1), ..Default::default() }).await.unwrap();
        assert_eq!(last.chunk().await.unwrap().as_deref(), Some(b"c\n".as_slice()));
        assert_eq!(last.chunk().await.unwrap(), None);
        let only = LogOptions { no_stdout: true, ..Default::default() };
        assert_eq!(runtime.logs(&h, only).await.unwrap().rest().await.unwrap(), b"b\n");
    });
}

#[test]
fn frames_tell_the_streams_apart() {
    run(async {
        let runtime = fake();
        let h = runtime.create(&spec("two", &["print out", "eprint err"])).await.unwrap();
        runtime.start(&h).await.unwrap();
        runtime.wait(&h).await.unwrap();
        let mut log = runtime.logs(&h, LogOptions { frames: true, ..Default::default() }).await.unwrap();
        let mut seen = Vec::new();
        while let Some(Frame::Data { stream, time_usec, data }) = log.frame().await.unwrap() {
            assert!(time_usec > 0);
            seen.push((stream, data));
        }
        assert_eq!(seen, [(1, b"out\n".to_vec()), (2, b"err\n".to_vec())]);
    });
}

#[test]
fn a_session_is_read_and_written_while_it_runs() {
    run(async {
        let runtime = fake();
        let h = runtime.create(&spec("one", &["wait"])).await.unwrap();
        runtime.start(&h).await.unwrap();
        let mut session = runtime.session(&h, &["cat", "exit 6"], ExecOptions::default()).unwrap();
        let mut output = session.pipe(1).unwrap().unwrap();
        let mut input = session.pipe(0).unwrap().unwrap();
        input.write_all(b"through").await.unwrap();
        drop(input);
        session.close_stdin();
        let mut text = Vec::new();
        let (ended, read) = both(session.ended(), output.read_to_end(&mut text)).await;
        read.unwrap();
        assert_eq!(text, b"through");
        assert_eq!(ended.unwrap().exec.unwrap().exit_code, 6);
    });
}

#[test]
fn exec_takes_its_options() {
    run(async {
        let runtime = fake();
        let h = runtime.create(&spec("one", &["wait"])).await.unwrap();
        runtime.start(&h).await.unwrap();
        let options = ExecOptions { stdin: b"given".to_vec(), ..Default::default() };
        let output = runtime.exec_with(&h, &["cat"], options).await.unwrap();
        assert_eq!(output.stdout, b"given");
        let options = ExecOptions { timeout_msec: Some(40), ..Default::default() };
        assert_eq!(runtime.exec_with(&h, &["wait"], options).await.unwrap_err().code, Code::TimedOut);
        let options = ExecOptions { env: vec!["no value".into()], ..Default::default() };
        assert_eq!(runtime.exec_with(&h, &["wait"], options).await.unwrap_err().code, Code::Invalid);
        assert_eq!(runtime.exec(&h, &[]).await.unwrap_err().code, Code::Invalid);
    });
}

#[test]
fn a_dropped_exec_is_killed() {
    run(async {
        let runtime = fake();
        let h = runtime.create(&spec("one", &["wait"])).await.unwrap();
        runtime.start(&h).await.unwrap();
        let left =
            tokio::time::timeout(Duration::from_millis(30), runtime.exec(&h, &["ignore TERM", "wait"])).await;
        assert!(left.is_err());
        assert_eq!(runtime.exec_list(&h).await.unwrap().trim(), "[]");
    });
}

#[test]
fn a_dropped_stop_goes_on() {
    run(async {
        let runtime = fake();
        let h = runtime.create(&spec("stubborn", &["ignore TERM", "wait"])).await.unwrap();
        runtime.start(&h).await.unwrap();
        let stop = runtime.stop(&h, Some(Duration::from_millis(80)));
        assert!(tokio::time::timeout(Duration::from_millis(10), stop).await.is_err());
        assert_eq!(runtime.status(&h).await.unwrap().state, State::Stopping);
        assert_eq!(runtime.wait(&h).await.unwrap().state, State::Stopped);
    });
}

#[test]
fn a_future_that_nobody_polls_does_nothing() {
    run(async {
        let runtime = fake();
        drop(runtime.create(&spec("never", &["wait"])));
        assert_eq!(runtime.find("never").await.unwrap_err().code, Code::NotFound);
    });
}

#[test]
fn one_engines_own_is_behind_a_checked_downcast() {
    run(async {
        let runtime: Box<dyn Runtime> = Box::new(fake());
        let berth = runtime.downcast_ref::<Berth>().expect("it is one of libberth");
        let h = runtime.create(&spec("one", &["wait"])).await.unwrap();
        runtime.start(&h).await.unwrap();
        berth.fake().unwrap().write(&h, 1, b"by hand\n").unwrap();
        berth.fake().unwrap().exit(&h, 9).unwrap();
        assert_eq!(runtime.wait(&h).await.unwrap().exit_code, Some(9));
        assert_eq!(
            runtime.logs(&h, LogOptions::default()).await.unwrap().rest().await.unwrap(),
            b"by hand\n"
        );
        assert_eq!(berth.container().err().unwrap().code, Code::Unsupported);
        assert!(runtime.downcast_ref::<Bare>().is_none());
    });
}

#[test]
fn an_engine_that_is_not_there_is_not_found() {
    assert_eq!(Berth::open("no-such", &Options::default()).err().unwrap().code, Code::NotFound);
    assert!(Berth::engines().iter().any(|name| name == "fake"));
}

/// A stranger's runtime: the verbs alone, and those do nothing.
struct Bare;

fn none<'a, T: Send + 'a>() -> Pending<'a, Result<T>> {
    Box::pin(async { Err(Error::unsupported("bare", "all")) })
}

impl Runtime for Bare {
    fn name(&self) -> &str {
        "bare"
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn create<'a>(&'a self, _: &'a str) -> Pending<'a, Result<Handle>> {
        none()
    }
    fn start<'a>(&'a self, _: &'a Handle) -> Pending<'a, Result<()>> {
        none()
    }
    fn stop<'a>(&'a self, _: &'a Handle, _: Option<Duration>) -> Pending<'a, Result<()>> {
        none()
    }
    fn remove<'a>(&'a self, _: &'a Handle, _: RemoveOptions) -> Pending<'a, Result<()>> {
        none()
    }
    fn status<'a>(&'a self, _: &'a Handle) -> Pending<'a, Result<Status>> {
        none()
    }
    fn logs<'a>(&'a self, _: &'a Handle, _: LogOptions) -> Pending<'a, Result<ByteStream>> {
        Box::pin(async { Ok(ByteStream::new(b"of its own".as_slice())) })
    }
    fn exec_with<'a>(
        &'a self, _: &'a Handle, _: &'a [&'a str], _: ExecOptions,
    ) -> Pending<'a, Result<ExecOutput>> {
        none()
    }
    fn stats<'a>(&'a self, _: &'a Handle) -> Pending<'a, Result<Stats>> {
        none()
    }
}

#[test]
fn a_runtime_of_the_verbs_alone_resolves_to_none() {
    run(async {
        let runtime: Box<dyn Runtime> = Box::new(Bare);
        let h = Handle::new("bare", "x", [1; 16], "").unwrap();
        assert_eq!(runtime.resolve_host_port(&h, 80).await, None);
        assert_eq!(runtime.resolve_container_address(&h, 80, Some("net")).await, None);
        assert_eq!(runtime.pause(&h).await.unwrap_err().code, Code::Unsupported);
        assert_eq!(runtime.list().await.unwrap_err().code, Code::Unsupported);
        assert_eq!(
            runtime.logs(&h, LogOptions::default()).await.unwrap().rest().await.unwrap(),
            b"of its own"
        );
    });
}
