//! A Postgres that falls silent in the middle of a question: nobody at this end is told, and nobody waits for TCP.

use chassis::{
    clock::Clock,
    postgres::{self, PoolLimits, Session, SessionLimits},
};
use std::time::Duration;
use testbed::{Database, Proxy, eventually};

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up_and_its_place_in_the_pool_is_free_again() {
    let database = Database::create().await;
    let url = database.url("edge");
    let proxy = Proxy::to(url.rsplit(['@', '/']).nth(1).unwrap()).await;
    let limits = PoolLimits { max: 1, min: 0, ..PoolLimits::default() };
    let session = Session::new(&proxy.in_url(&url), "silenced", SessionLimits::EDGE).unwrap();
    let pool = session.pool(limits);

    let of_question = pool.clone();
    let question = tokio::spawn(async move {
        postgres::read(&of_question, sqlx::query("SELECT pg_sleep(1.5)")).await.map(drop)
    });
    let mut admin = database.connect_admin().await;
    eventually("the question is being answered", async || {
        let asked = "SELECT count(*) FROM pg_stat_activity
                     WHERE application_name = 'silenced' AND state = 'active' AND datname = current_database()";
        sqlx::query_scalar::<_, i64>(asked).fetch_one(&mut admin).await.unwrap() == 1
    })
    .await;
    proxy.silence();
    let given_up = tokio::time::timeout(Duration::from_secs(30), question).await;
    let error = given_up.expect("the question is given up").unwrap().unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");

    let clock = Clock::system();
    let next = tokio::time::timeout(Duration::from_secs(30), postgres::tell_time(&pool, &clock)).await;
    next.expect("the only place is free again").unwrap();
}
