//! A topic that was made anew, or whose records expired unread: its lanes halt, for what they stand behind is gone. Here
//! an operator says that it is, and has them begin where the topic begins.

use super::{Outcome, SERVICES, store};
use crate::config;
use chassis::{
    kafka::Cluster,
    postgres::{self, SessionLimits},
    settings::Environment,
};

pub(super) async fn run(environment: &Environment, service: &str, dry_run: bool) -> Outcome {
    let Some((service, topic)) = SERVICES.into_iter().find(|(name, _)| *name == service) else {
        return Err(format!("{service} has no lanes").into());
    };
    let cluster = Cluster::from_environment(environment);
    let name = topic.on_cluster(&cluster.prefix);
    let Some(firsts) = harness::first_offsets(&cluster, &name).await? else {
        return Err(format!("{name} does not exist: create the topics with `mambogo topics`").into());
    };
    let url = config::database(environment, service);
    let mut connection = postgres::connect(url.expose(), "mambogo-lanes", SessionLimits::WORKER).await?;
    let rows = if dry_run {
        store::read(&mut connection, service, topic).await?
    } else {
        store::fence(&mut connection, service, topic).await?
    };
    if rows.len() != firsts.len() {
        return Err(format!(
            "{name} has {} partitions, but {service} has {} lanes: recreate the topic with as many",
            firsts.len(),
            rows.len()
        )
        .into());
    }
    if !dry_run {
        store::begin(&mut connection, service, &rows, &firsts).await?;
    }
    for (row, first) in rows.iter().zip(&firsts) {
        println!("{service}/{}: from offset {} to {first}", row.partition, row.next_offset);
    }
    println!("{} lanes {}", rows.len(), if dry_run { "would begin anew" } else { "begin anew" });
    Ok(())
}
