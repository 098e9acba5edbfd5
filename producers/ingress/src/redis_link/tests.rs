//! One life of a connection, and what ends it: restarts, silence, servers that are away.

use super::*;

#[test]
fn fields_of_info_are_read_by_their_whole_name() {
    let info = "# Server\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\nrun_id:abc\r\n";
    assert_eq!(field(info, "maxmemory"), Some("0"));
    assert_eq!(field(info, "maxmemory_policy"), Some("noeviction"));
    assert_eq!(field(info, "run"), None);
}

#[test]
fn an_answer_is_believed_unless_all_since_the_last_one_may_have_been_silence() {
    let born = Instant::now();
    let at = |millis| born + Duration::from_millis(millis);
    let silence = Silence::new(born, Duration::from_millis(750));
    assert!(silence.ends(at(700), at(710)));
    assert!(silence.ends(at(720), at(1_450)), "slow, but others were answered shortly before");
    // frozen from 1,460 to 2,480: two commands were under way, one comes afterwards
    assert!(!silence.ends(at(1_470), at(2_481)));
    assert!(!silence.ends(at(1_500), at(2_482)), "what was sent before it answered proves nothing");
    assert!(!silence.ends(at(2_490), at(2_491)), "nor is it known yet what was before this one");
    assert!(silence.ends(at(2_495), at(2_496)));
}

/// Held for less than the time-out, so that every command succeeds in the end.
#[tokio::test]
async fn a_server_that_was_silent_is_given_up_though_it_answers() {
    let server = testbed::Redis::start().await;
    let proxy = testbed::Proxy::to(server.url().trim_start_matches("redis://").trim_end_matches("/0")).await;
    let stop = CancellationToken::new();
    let slow = Duration::from_secs(2);
    let config =
        RedisConfig { response_timeout: slow, connect_timeout: slow, ..config(proxy.in_url(&server.url())) };
    let link = RedisLink::start(config.clone(), stop.clone()).unwrap();
    let mut connects = link.connects();
    connects.wait_for(|generation| *generation > 0).await.unwrap();
    ping(&link).await.unwrap();
    proxy.hold();
    let held = Instant::now();
    let silent = config.longest_silence() + Duration::from_millis(200);
    testbed::eventually("it was held for longer than is believed", async || held.elapsed() > silent).await;
    proxy.open();
    let wait = connects.wait_for(|generation| *generation > 1);
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap().unwrap();
    testbed::eventually("the new connection answers", async || ping(&link).await.is_ok()).await;
    stop.cancel();
}

fn config(url: String) -> RedisConfig {
    let patience = Duration::from_secs(1);
    RedisConfig {
        url: chassis::settings::Secret::new(url),
        response_timeout: patience,
        connect_timeout: patience,
    }
}

async fn ping(link: &RedisLink) -> Result<Arc<Life>, RedisAway> {
    let life = link.life()?;
    let _: (String,) = link.query(&life, redis::pipe().cmd("PING")).await?;
    Ok(life)
}

#[tokio::test]
async fn a_restarted_server_is_another_server() {
    let mut server = testbed::Redis::start().await;
    let stop = CancellationToken::new();
    let link = RedisLink::start(config(server.url()), stop.clone()).unwrap();
    let mut connects = link.connects();
    connects.wait_for(|generation| *generation > 0).await.unwrap();
    let first = ping(&link).await.unwrap();
    server.stop();
    assert!(ping(&link).await.is_err(), "a command to a dead server fails");
    server.restart().await;
    let wait = connects.wait_for(|generation| *generation > first.generation);
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap().unwrap();
    let second = ping(&link).await.unwrap();
    assert_ne!(first.run_id, second.run_id);
    stop.cancel();
}

#[tokio::test]
async fn many_runs_of_a_script_are_answered_in_their_order_and_the_script_is_loaded_where_it_is_missing() {
    let server = testbed::Redis::start().await;
    let stop = CancellationToken::new();
    let link = RedisLink::start(config(server.url()), stop.clone()).unwrap();
    link.connects().wait_for(|generation| *generation > 0).await.unwrap();
    let life = link.life().unwrap();
    let script = Script::new("return {KEYS[1], tonumber(ARGV[1]) + tonumber(ARGV[2])}");
    let mut runs = ScriptRuns::new(&script, 300);
    for n in 0..300 {
        runs.add(&[n.to_string()]).arg(n).arg(1);
    }
    for _ in 0..2 {
        let answers: Vec<(String, i64)> = link.run_all(&life, &runs).await.unwrap();
        assert!((0..300).all(|n: i64| answers[n as usize] == (n.to_string(), n + 1)), "{answers:?}");
        assert_eq!(server.command("SCRIPT FLUSH").await, "+OK");
    }
    runs.add(&["x"]).arg("no number").arg(1);
    assert_eq!(link.run_all::<(String, i64)>(&life, &runs).await, Err(RedisAway));
    stop.cancel();
}

#[tokio::test]
async fn without_redis_a_command_fails_at_once() {
    let stop = CancellationToken::new();
    let link = RedisLink::start(config("redis://127.0.0.1:1".to_owned()), stop.clone()).unwrap();
    assert_eq!(link.life().err(), Some(RedisAway));
    stop.cancel();
}
