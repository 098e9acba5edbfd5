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
use schemas::{
    messages::BodyHash,
    view::packed::{self, ClaimState, Packed},
};
use std::time::Duration;

/// Redis has bytes where the model has texts.
fn body(n: u8) -> (BodyHash, String) {
    (BodyHash([n; 32]), format!("body{n}"))
}

fn claim_id(n: u8) -> (packed::ClaimId, String) {
    ([n + 1; 16], format!("id{n}"))
}

/// The model's name of a claim's id; one given back has none.
fn name_of(id: packed::ClaimId) -> String {
    match id[0] {
        0 => "-".to_owned(),
        n => format!("id{}", n - 1),
    }
}

fn name_of_body(hash: BodyHash) -> String {
    format!("body{}", hash.0[0])
}

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
        match op {
            Op::Claim { order, body: n, id, run, proved, leased } => {
                let (key, run) = (key(*order), format!("run{run}"));
                let ((hash, body_hash), (claim, id)) = (body(*n), claim_id(*id));
                let proved = proved.and_then(|ago| self.mark(ago)).cloned();
                let lease = Duration::from_secs(if *leased { 3_600 } else { 0 });
                let mut script = self.scripts.claim.key("since");
                let mark_id = format!("mark{}", self.now);
                script
                    .key(&key)
                    .arg(&run)
                    .arg(&mark_id)
                    .arg(proved.as_ref().map_or("", |it| &it.0))
                    .arg(lease.as_millis() as u64)
                    .arg(3_600_000)
                    .arg(packed::claimed(hash, claim, Some(b"view")));
                let (mark, _, outcomes, _): (String, i64, Vec<u8>, Vec<i64>) =
                    script.invoke_async(&mut self.redis).await.unwrap();
                let wanted = Wanted {
                    order: &key,
                    run_id: &run,
                    proved: proved.as_ref().map(|it| &it.1),
                    owner: "me",
                    body_hash: &body_hash,
                    id: &id,
                    mark_id: &mark_id,
                    lease,
                };
                let (model_mark, _, model) = self.model.claim(wanted, self.now);
                let model = match model {
                    Outcome::New => 0,
                    Outcome::Taken => 1,
                    Outcome::Same => 2,
                    Outcome::SettledOther => 3,
                    Outcome::Other => 4,
                    Outcome::InFlight(_) => 5,
                };
                assert_eq!(outcomes, [model]);
                self.saw(Some(mark), Some(model_mark));
            }
            Op::Answer { order, body: n, mark } => {
                let Some((real, model)) = self.mark(*mark).cloned() else { return };
                let (hash, body_hash) = body(*n);
                let mut script = self.scripts.answer.key("since");
                script.key(key(*order)).arg(real).arg(&hash.0);
                let held: Vec<u8> = script.invoke_async(&mut self.redis).await.unwrap();
                assert_eq!(held == [1], self.model.answer(&key(*order), &model, &body_hash));
            }
            Op::Release { order, id } => {
                let (claim, id) = claim_id(*id);
                let mut script = self.scripts.release.key(key(*order));
                let done: i64 = script.arg(&claim).invoke_async(&mut self.redis).await.unwrap();
                assert_eq!(done == 1, self.model.release(&key(*order), &id));
            }
            Op::Renew { run, id } => {
                // a mark made in the same millisecond with the same random part would be the same mark
                let (run, id) = (format!("run{run}"), format!("renewed{}{id}", self.now));
                let mut script = self.scripts.renew.key("since");
                let _: i64 = script.arg(&run).arg(&id).invoke_async(&mut self.redis).await.unwrap();
                self.model.renew(&run, &id, self.now);
            }
            Op::Write { order, body: n, version } => {
                let (hash, body_hash) = body(*n);
                let mut script = self.scripts.write.key(key(*order));
                script.arg(3_600_000).arg(packed::written(hash, *version, b"view"));
                let done: Vec<u8> = script.invoke_async(&mut self.redis).await.unwrap();
                assert_eq!(done == [1], self.model.write(&key(*order), *version, "me", &body_hash));
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
        let key = format!("order:{order}");
        let mut asked = redis::cmd("MGET");
        let (mark, held): (Option<String>, Option<Vec<u8>>) =
            asked.arg("since").arg(&key).query_async(&mut self.redis).await.unwrap();
        let (mut fields, model_mark) = self.model.look(&key);
        self.saw(mark, model_mark);
        // times are each side's own: what counts is whether a lease was given back
        let lapsed = |until: i64| i64::from(until > 0);
        if let Some(Held::InFlight { until, .. }) = &mut fields.claim {
            *until = lapsed(*until);
        }
        let packed = held.as_deref().map(|held| Packed::read(held).unwrap());
        let claim = packed.and_then(|packed| match packed.claim {
            ClaimState::Nothing => None,
            ClaimState::Answered => Some(Held::Answered),
            ClaimState::InFlight { until, id, is_new } => {
                Some(Held::InFlight { until: lapsed(until), id: name_of(id), is_new })
            }
        });
        let view = packed.and_then(|packed| packed.view);
        assert!(view.is_none_or(|(_, payload)| payload == b"view"), "{view:?}");
        let found = Fields {
            // who may see it stands in the view
            owner: view.map(|_| "me".to_owned()),
            body_hash: packed.and_then(|packed| packed.body_hash).map(name_of_body),
            claim,
            version: view.map(|(version, _)| version),
        };
        assert_eq!(found, fields);
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
