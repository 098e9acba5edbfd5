//! The scripts in a real Redis and their model, side by side over random commands.

use super::{
    Scripts,
    model::{Fields, Held, Outcome, Server, Wanted},
};
use crate::proof::Mark;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use redis::aio::MultiplexedConnection;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Op {
    Claim { order: u8, body: u8, id: u8, run: u8, proved: Option<u8>, leased: bool },
    Answer { order: u8, body: u8, mark: u8 },
    Release { order: u8, id: u8 },
    Renew { run: u8, id: u8 },
    Write { order: u8, body: u8, version: i64 },
    Flush,
}

fn op() -> impl Strategy<Value = Op> {
    let proved = proptest::option::of(0..3u8);
    prop_oneof![
        10 => (0..2u8, 0..2u8, 0..4u8, 0..8u8, proved, any::<bool>()).prop_map(
            |(order, body, id, run, proved, leased)| Op::Claim { order, body, id, run: run / 7, proved, leased }
        ),
        4 => (0..2u8, 0..2u8, 0..3u8).prop_map(|(order, body, mark)| Op::Answer { order, body, mark }),
        4 => (0..2u8, 0..4u8).prop_map(|(order, id)| Op::Release { order, id }),
        1 => (0..2u8, 0..4u8).prop_map(|(run, id)| Op::Renew { run, id }),
        3 => (0..2u8, 0..2u8, 0..4i64).prop_map(|(order, body, version)| Op::Write { order, body, version }),
        1 => Just(Op::Flush),
    ]
}

/// Both sides, and the marks that each has shown: the nth of one is the nth of the other.
struct Pair {
    redis: MultiplexedConnection,
    scripts: Scripts,
    model: Server,
    now: i64,
    marks: Vec<(String, Mark)>,
}

impl Pair {
    /// The mark shown so many marks ago.
    fn mark(&self, ago: u8) -> Option<&(String, Mark)> {
        self.marks.len().checked_sub(1 + usize::from(ago)).map(|at| &self.marks[at])
    }

    fn saw(&mut self, real: Option<String>, model: Option<Mark>) {
        let last = self.mark(0);
        let is_known = |pair: (&str, &Mark)| last.is_some_and(|last| (last.0.as_str(), &last.1) == pair);
        match (real, model) {
            (Some(real), Some(model)) if is_known((&real, &model)) => {}
            (Some(real), Some(model)) => {
                assert!(
                    last.is_none_or(|last| last.0 != real && last.1 != model),
                    "one of them kept its mark"
                );
                self.marks.push((real, model));
            }
            (real, model) => assert_eq!((real, model), (None, None)),
        }
    }

    async fn run(&mut self, op: &Op) {
        let key = |order: u8| format!("order:{order}");
        let body = |n: u8| format!("body{n}");
        match op {
            Op::Claim { order, body: n, id, run, proved, leased } => {
                let (key, hash, id, run) = (key(*order), body(*n), format!("id{id}"), format!("run{run}"));
                let proved = proved.and_then(|ago| self.mark(ago)).cloned();
                let lease = Duration::from_secs(if *leased { 3_600 } else { 0 });
                let mut script = self.scripts.claim.key(&key);
                let mark_id = format!("mark{}", self.now);
                script
                    .key("since")
                    .arg(&run)
                    .arg(&mark_id)
                    .arg(proved.as_ref().map_or("", |it| &it.0))
                    .arg("me");
                script.arg(&hash).arg(&id).arg(lease.as_millis() as u64).arg(3_600_000).arg("{}");
                let (mark, _, outcome, _): (String, i64, String, i64) =
                    script.invoke_async(&mut self.redis).await.unwrap();
                let wanted = Wanted {
                    order: &key,
                    run_id: &run,
                    proved: proved.as_ref().map(|it| &it.1),
                    owner: "me",
                    body_hash: &hash,
                    id: &id,
                    mark_id: &mark_id,
                    lease,
                };
                let (model_mark, _, model) = self.model.claim(wanted, self.now);
                let model = match model {
                    Outcome::New => "new",
                    Outcome::Taken => "taken",
                    Outcome::InFlight(_) => "flight",
                    Outcome::Same => "same",
                    Outcome::SettledOther => "settled-other",
                    Outcome::Other => "other",
                };
                assert_eq!(outcome, model);
                self.saw(Some(mark), Some(model_mark));
            }
            Op::Answer { order, body: n, mark } => {
                let Some((real, model)) = self.mark(*mark).cloned() else { return };
                let mut script = self.scripts.answer.key(key(*order));
                script.key("since").arg(real).arg(body(*n));
                let held: i64 = script.invoke_async(&mut self.redis).await.unwrap();
                assert_eq!(held == 1, self.model.answer(&key(*order), &model, &body(*n)));
            }
            Op::Release { order, id } => {
                let mut script = self.scripts.release.key(key(*order));
                let done: i64 = script.arg(format!("id{id}")).invoke_async(&mut self.redis).await.unwrap();
                assert_eq!(done == 1, self.model.release(&key(*order), &format!("id{id}")));
            }
            Op::Renew { run, id } => {
                // a mark made in the same millisecond with the same random part would be the same mark
                let (run, id) = (format!("run{run}"), format!("renewed{}{id}", self.now));
                let mut script = self.scripts.renew.key("since");
                let _: i64 = script.arg(&run).arg(&id).invoke_async(&mut self.redis).await.unwrap();
                self.model.renew(&run, &id, self.now);
            }
            Op::Write { order, body: n, version } => {
                let mut script = self.scripts.write.key(key(*order));
                script.arg(*version).arg("me").arg(body(*n)).arg("PENDING").arg("{}").arg(3_600_000).arg("");
                let done: i64 = script.invoke_async(&mut self.redis).await.unwrap();
                assert_eq!(done == 1, self.model.write(&key(*order), *version, "me", &body(*n)));
            }
            Op::Flush => {
                let _: () = redis::cmd("FLUSHALL").query_async(&mut self.redis).await.unwrap();
                self.model.forget();
                self.marks.clear();
            }
        }
    }

    /// What both hold now.
    async fn look(&mut self, order: u8) {
        type Looked = (
            Option<String>,
            Option<i64>,
            Option<String>,
            Option<String>,
            Option<String>,
            Option<String>,
            Option<String>,
        );
        let key = format!("order:{order}");
        let mut script = self.scripts.look.key(&key);
        let (owner, version, _, _, body_hash, claim, mark): Looked =
            script.key("since").arg("").invoke_async(&mut self.redis).await.unwrap();
        let (mut fields, model_mark) = self.model.look(&key);
        self.saw(mark, model_mark);
        // times are each side's own: what counts is whether a lease was given back
        let lapsed = |until: i64| i64::from(until > 0);
        if let Some(Held::InFlight { until, .. }) = &mut fields.claim {
            *until = lapsed(*until);
        }
        let claim = claim.map(|text| match text.as_str() {
            "a" => Held::Answered,
            flight => {
                let mut words = flight.split(' ');
                let until = words.next().unwrap()[1..].parse().unwrap();
                let (id, kind) = (words.next().unwrap().to_owned(), words.next().unwrap());
                Held::InFlight { until: lapsed(until), id, is_new: kind == "new" }
            }
        });
        assert_eq!(Fields { owner, body_hash, claim, version }, fields);
    }
}

#[tokio::test]
async fn the_model_does_what_the_scripts_do() {
    let server = testbed::Redis::start().await;
    let client = redis::Client::open(server.url()).unwrap();
    let redis = client.get_multiplexed_async_connection().await.unwrap();
    let mut pair =
        Pair { redis, scripts: Scripts::new(), model: Server::default(), now: 1, marks: Vec::new() };
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..60 {
        let ops = proptest::collection::vec(op(), 40).new_tree(&mut runner).unwrap().current();
        pair.run(&Op::Flush).await;
        for (at, op) in ops.iter().enumerate() {
            pair.now += 1;
            pair.run(op).await;
            pair.look(0).await;
            pair.look(1).await;
            println!("{at}: {op:?}");
        }
    }
}
