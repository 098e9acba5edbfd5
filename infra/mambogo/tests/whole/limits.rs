//! The rate limit over real gateways: two processes grant together what one bucket holds, whatever they are asked at once.

use crate::system::System;
use std::collections::BTreeMap;

/// Calls that a full bucket allows.
const CAPACITY: u32 = 1_000;

#[tokio::test]
async fn two_gateways_grant_together_what_one_bucket_holds() {
    let rate = format!("1/s,{CAPACITY}");
    let system =
        System::build(&[("RATE_LIMITS", "on"), ("RATE_LIMIT_READS", &rate), ("RATE_LIMIT_PATIENCE", "5s")])
            .await;
    let (one, other) = tokio::join!(system.start(&["serve"]), system.start(&["serve"]));
    let (left, right) = tokio::join!(system.client(&one, "ann"), system.client(&other, "ann"));
    let path = format!("/api/inventory/{}", system.product(1).await);
    let began = tokio::time::Instant::now();
    let tasks = (0..32_usize).map(|task| {
        let (client, path) = (if task % 2 == 0 { left.clone() } else { right.clone() }, path.clone());
        tokio::spawn(async move {
            let mut heard: BTreeMap<u16, u32> = BTreeMap::new();
            for _ in 0..60 {
                let answer = client.get(&path).await;
                *heard.entry(answer.status.as_u16()).or_default() += 1;
                assert!(answer.headers.contains_key("ratelimit"), "{}", answer.status);
            }
            heard
        })
    });
    let mut heard: BTreeMap<u16, u32> = BTreeMap::new();
    for task in tasks.collect::<Vec<_>>() {
        for (status, count) in task.await.unwrap() {
            *heard.entry(status).or_default() += count;
        }
    }
    // what came back in the meantime, and one for its beginning and end
    let more = u32::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let granted = heard.get(&200).copied().unwrap_or(0);
    assert!((CAPACITY..=CAPACITY + more).contains(&granted), "{granted} of {CAPACITY} and {more}: {heard:?}");
    assert_eq!(heard.len(), 2, "200 and 429 alone: {heard:?}");
    // another caller finds its own bucket full
    let other_caller = system.client(&one, "bob").await;
    assert_eq!(other_caller.get(&path).await.status, 200);
}
