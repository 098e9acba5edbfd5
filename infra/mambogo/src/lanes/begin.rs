//! A topic that was made anew, or whose records expired unread: its lanes halt, for what they stand behind is gone. Here
//! an operator says that it is, and has them begin where the topic begins.

use super::{Desk, Outcome, SERVICES, store};
use chassis::{kafka::Cluster, settings::Environment};

pub(super) async fn run(environment: &Environment, service: &str, dry_run: bool) -> Outcome {
    let Some((service, topic)) = SERVICES.into_iter().find(|(name, _)| *name == service) else {
        return Err(format!("{service} has no lanes").into());
    };
    let cluster = Cluster::from_environment(environment);
    let name = topic.on_cluster(&cluster.prefix);
    let Some(firsts) = harness::first_offsets(&cluster, &name).await? else {
        return Err(format!("{name} does not exist: create the topics with `mambogo topics`").into());
    };
    let Desk { mut connection, rows, .. } = Desk::open(environment, service, topic, dry_run).await?;
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
