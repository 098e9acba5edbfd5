//! What has to hold once the load has stopped: every check of a phase, in the order in which the answers come to rest.

use crate::{
    Failure,
    buyer::{Life, is_end},
    instance::Instance,
    log::follow,
    provider::{Charge, Provider},
    store,
    trail::Trail,
    verdict::{Findings, Invariant},
};
use auditor::{AuditConfig, Auditor, Report, Scope};
use chassis::settings::Secret;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest time in which everything under way comes to rest after the last client has seen its end.
const TO_REST: Duration = Duration::from_secs(90);
/// Where the books can be looked at.
const LOOK: &str = "mambogo replay --topic all --key ORDER shows its trace";

/// Waits until nothing is under way and all books agree; what still is, or does not, by then is a violation.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn come_to_rest(instance: &Instance, findings: &Findings) -> Result<Duration, Failure> {
    let url = Secret::new(instance.setting("AUDIT_DATABASE_URL")?);
    // the provider is not the built-in one: its ledger is compared below
    let mut auditor = Auditor::new(AuditConfig { ledger: None, ..AuditConfig::new(&url) });
    let begun = Instant::now();
    loop {
        // right after a fault a connection may still break: that is no finding
        match look(instance, &mut auditor).await {
            Ok((left, report)) if left.is_empty() && report.is_settled() => return Ok(begun.elapsed()),
            Ok((left, report)) if begun.elapsed() > TO_REST => {
                take_down(findings, &left, &report);
                return Ok(begun.elapsed());
            }
            Err(error) if begun.elapsed() > TO_REST => return Err(error),
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}

async fn look(instance: &Instance, auditor: &mut Auditor) -> Result<(Vec<String>, Report), Failure> {
    let left = store::left_behind(instance).await?;
    // the books are compared only when nothing is under way: that is a walk over all orders
    let report = if left.is_empty() { auditor.pass(Scope::Everything).await? } else { Report::default() };
    Ok((left, report))
}

fn take_down(findings: &Findings, left: &[String], report: &Report) {
    let wrong = report.drift.iter().chain(&report.unproved);
    wrong.for_each(|finding| findings.add(Invariant::Books, format!("{finding}; {LOOK}")));
    if report.crowded_out > 0 {
        findings.add(Invariant::Books, format!("and {} more that look wrong", report.crowded_out));
    }
    left.iter().for_each(|line| findings.add(Invariant::Settled, line));
    let waiting = report.attention.iter();
    waiting.for_each(|finding| findings.add(Invariant::Settled, format!("{finding}; {LOOK}")));
    if report.open > 0 {
        findings.add(Invariant::Settled, format!("{} orders are still under way", report.open));
    }
}

/// Each accepted order as the table has it: there, at its end, and as its client read it.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn against_the_table(
    instance: &Instance,
    lives: &[Life],
    findings: &Findings,
) -> Result<(), Failure> {
    let ids: Vec<&str> = lives.iter().filter_map(|life| life.id.as_deref()).collect();
    let known = store::orders(instance, &ids).await?;
    for life in lives {
        let Some(id) = life.id.as_deref() else { continue };
        match known.get(id) {
            None => {
                findings.add(Invariant::Settled, format!("order {id}, key {}: a 202 and no row", life.key))
            }
            Some((status, version)) => {
                if !is_end(status) {
                    findings.add(Invariant::Settled, format!("order {id} stands at {status}; {LOOK}"));
                }
                if is_end(&life.status) && (*status != life.status || *version < life.version) {
                    let read = format!("read as {} ({})", life.status, life.version);
                    findings.add(Invariant::Reads, format!("order {id} is {status} ({version}), {read}"));
                }
            }
        }
    }
    Ok(())
}

/// Reads the log on from `trail`, or anew, and holds it against what clients were told.
///
/// # Errors
/// When the brokers do not answer.
pub(crate) async fn against_the_log(
    instance: &Instance,
    lives: &[Life],
    since: Option<Duration>,
    trail: Trail,
    findings: &Arc<Findings>,
) -> Result<Trail, Failure> {
    let trail = follow(instance.setting("KAFKA_BROKERS")?, since, trail, Arc::clone(findings)).await?;
    trail.at_rest(findings);
    let mut keys: HashMap<&str, &str> = HashMap::new();
    for life in lives {
        let Some(id) = life.id.as_deref() else { continue };
        if !trail.has_submit(id) {
            findings.add(
                Invariant::OnLog,
                format!("order {id}, key {}: a 202, and no submit on the log", life.key),
            );
        }
        if let Some(other) = keys.insert(id, &life.key) {
            findings.add(
                Invariant::Once,
                format!("order {id} is the answer to key {other} and to key {}", life.key),
            );
        }
        match trail.order(id) {
            Some((status, version)) if is_end(status) && version >= life.version => {
                if is_end(&life.status) && status != life.status {
                    let what =
                        format!("order {id}: the last event says {status}, its client read {}", life.status);
                    findings.add(Invariant::Reads, what);
                }
            }
            last => {
                let what =
                    format!("order {id}: its last event is {last:?}, its client read {}", life.version);
                findings.add(Invariant::Settled, what);
            }
        }
    }
    Ok(trail)
}

/// Each capture of ours is one charge of the provider's, of that amount, with as much given back; and what it charged and
/// we did not capture it has given back whole.
///
/// # Errors
/// When the database or the provider do not answer.
pub(crate) async fn against_the_provider(
    instance: &Instance,
    provider: &Provider,
    findings: &Findings,
) -> Result<(), Failure> {
    let (ours, its) = (store::captured(instance).await?, provider.charges().await?);
    compare(&ours, &its, findings);
    Ok(())
}

fn compare(ours: &[Charge], its: &[Charge], findings: &Findings) {
    let mut charged: HashMap<&str, &Charge> = HashMap::new();
    for charge in its {
        if charged.insert(&charge.effect, charge).is_some() {
            let what = format!("order {}: capture {} was charged twice", charge.order, charge.effect);
            findings.add(Invariant::Once, what);
        }
    }
    for capture in ours {
        let charge = charged.remove(capture.effect.as_str());
        if charge != Some(capture) {
            let what = format!(
                "order {}: our books have {capture:?}, the provider's {charge:?}; {LOOK}",
                capture.order
            );
            findings.add(Invariant::Books, what);
        }
    }
    for charge in charged.values().filter(|charge| charge.refunded != charge.amount) {
        let what = format!("order {}: the provider keeps {charge:?}, our books do not; {LOOK}", charge.order);
        findings.add(Invariant::Books, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(effect: &str, amount: i64, refunded: i64) -> Charge {
        Charge { effect: effect.to_owned(), order: "o".to_owned(), amount, refunded }
    }

    #[test]
    fn each_way_in_which_books_can_differ_is_found() {
        let found = |ours: &[Charge], its: &[Charge]| {
            let findings = Findings::default();
            compare(ours, its, &findings);
            findings.take().into_keys().collect::<Vec<_>>()
        };
        let kept = || charge("a", 700, 0);
        assert_eq!(found(&[kept()], &[kept(), charge("b", 500, 500)]), []);
        assert_eq!(found(&[kept(), charge("b", 500, 500)], &[kept()]), [Invariant::Books]);
        assert_eq!(found(&[], &[kept()]), [Invariant::Books]);
        assert_eq!(found(&[charge("a", 700, 1)], &[kept()]), [Invariant::Books]);
        assert_eq!(found(&[kept()], &[kept(), kept()]), [Invariant::Once]);
    }
}
