//! Draws orders: what the order of a number asks for, and what its client does, from the plan's seed and that number
//! alone.

use crate::plan::{Follow, Plan, Spread};
use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::fmt::Write;
use uuid::Uuid;

/// The products that orders may name, and how often each is named.
#[derive(Debug, Clone)]
pub struct Shop {
    products: Vec<Uuid>,
    /// Running sums of the products' weights, the last one 1.
    sums: Vec<f64>,
    hot: bool,
    /// Payment methods and running sums of their weights.
    payments: Vec<(String, f64)>,
    /// What clients do afterwards, and running sums of the weights.
    follow: Vec<(Follow, f64)>,
}

/// One order and what its client does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// Its number in the run.
    pub number: u32,
    /// The body of its submit: a JSON object.
    pub body: Bytes,
    /// Another body, to be refused under the same key.
    pub other: Option<Bytes>,
    /// Whether its submit is sent a second time.
    pub repeated: bool,
    /// Whether it is cancelled.
    pub cancelled: bool,
    /// What its client does then.
    pub follow: Follow,
}

impl Shop {
    /// The products of a run. `None` without products, lines, payment methods or ways to follow an order.
    #[must_use]
    pub fn new(plan: &Plan, products: Vec<Uuid>) -> Option<Self> {
        if products.is_empty() || plan.lines == 0 || plan.payments.is_empty() || plan.follow.is_empty() {
            return None;
        }
        let exponent = if let Spread::Zipf(exponent) = plan.products { exponent } else { 0.0 };
        let ranks = (1..=u32::try_from(products.len()).ok()?).map(f64::from);
        let sums = running_sums(ranks.map(|rank| rank.powf(-exponent)));
        let (payments, follow) = (summed(&plan.payments), summed(&plan.follow));
        Some(Self { products, sums, hot: plan.products == Spread::Hot, payments, follow })
    }

    /// The order of that number.
    #[must_use]
    pub fn order(&self, plan: &Plan, number: u32) -> Drawn {
        // the golden ratio's bits: neighbouring numbers get streams that have nothing to do with each other
        let mut random =
            StdRng::seed_from_u64(plan.seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let lines = self.lines(plan, &mut random);
        let method = pick(&self.payments, random.random(), |(_, sum)| *sum).map_or("", |(method, _)| method);
        let chance = |random: &mut StdRng, share: f64| random.random::<f64>() < share;
        let other = chance(&mut random, plan.other_bodies).then(|| body(&lines, method, number, 1));
        let repeated = chance(&mut random, plan.repeats);
        let cancelled = chance(&mut random, plan.cancels);
        let follow =
            pick(&self.follow, random.random(), |(_, sum)| *sum).map_or(Follow::Nothing, |(way, _)| *way);
        Drawn { number, body: body(&lines, method, number, 0), other, repeated, cancelled, follow }
    }

    fn lines(&self, plan: &Plan, random: &mut StdRng) -> Vec<(Uuid, i32)> {
        let count = usize::from(plan.lines).min(self.products.len());
        let mut lines: Vec<(Uuid, i32)> = Vec::with_capacity(count);
        if self.hot {
            lines.extend(self.products.first().map(|product| (*product, 1)));
        }
        // a very uneven spread names the same few again and again: after so many draws the order has fewer lines
        for _ in 0..4 * count {
            if lines.len() == count {
                break;
            }
            let ranked: f64 = random.random();
            let place = self.sums.partition_point(|sum| *sum < ranked);
            let product = self.products.get(place).or(self.products.last());
            let Some(product) = product.filter(|one| lines.iter().all(|(other, _)| other != *one)) else {
                continue;
            };
            lines.push((*product, random.random_range(1..=3)));
        }
        lines
    }
}

fn running_sums(weights: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let total: f64 = weights.clone().sum();
    weights
        .scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        })
        .collect()
}

/// Each with the running sum of the weights in the place of its own.
fn summed<T: Clone>(weighted: &[(T, f64)]) -> Vec<(T, f64)> {
    let sums = running_sums(weighted.iter().map(|(_, weight)| *weight));
    weighted.iter().map(|(one, _)| one.clone()).zip(sums).collect()
}

fn pick<T>(from: &[T], at: f64, sum: impl Fn(&T) -> f64) -> Option<&T> {
    from.get(from.partition_point(|one| sum(one) < at)).or(from.last())
}

/// The JSON of one order; `extra` units more on the first line make it another order.
fn body(lines: &[(Uuid, i32)], method: &str, number: u32, extra: i32) -> Bytes {
    let mut text = String::with_capacity(160 + 80 * lines.len());
    text.push_str("{\"items\":[");
    for (index, (product, quantity)) in lines.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let quantity = quantity + if index == 0 { extra } else { 0 };
        // writing to a string does not fail
        let _ = write!(text, "{comma}{{\"productId\":\"{product}\",\"quantity\":{quantity}}}");
    }
    let _ = write!(
        text,
        "],\"shippingAddress\":\"{number} Harbour Road, Mombasa\",\"paymentMethod\":\"{method}\"}}"
    );
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn products(count: u128) -> Vec<Uuid> {
        (1..=count).map(Uuid::from_u128).collect()
    }

    fn named(plan: &Plan, count: u128) -> BTreeMap<String, usize> {
        let shop = Shop::new(plan, products(count)).unwrap();
        let mut named = BTreeMap::new();
        for number in 0..2_000 {
            let drawn: serde_json::Value = serde_json::from_slice(&shop.order(plan, number).body).unwrap();
            for line in drawn["items"].as_array().unwrap() {
                *named.entry(line["productId"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        named
    }

    #[test]
    fn the_same_plan_draws_the_same_orders() {
        let plan = Plan { other_bodies: 0.5, repeats: 0.5, cancels: 0.5, ..Plan::default() };
        let shop = Shop::new(&plan, products(100)).unwrap();
        let drawn: Vec<_> = (0..100).map(|number| shop.order(&plan, number)).collect();
        assert_eq!(drawn, (0..100).map(|number| shop.order(&plan, number)).collect::<Vec<_>>());
        let other = Plan { seed: 2, ..plan };
        assert_ne!(drawn[0].body, shop.order(&other, 0).body);
        assert_ne!(drawn[0].body, drawn[1].body);
    }

    #[test]
    fn spreads_are_as_they_are_called() {
        let uniform = named(&Plan::default(), 20);
        assert!(
            uniform.len() == 20 && uniform.values().all(|count| (120..280).contains(count)),
            "{uniform:?}"
        );
        let zipf = named(&Plan { products: Spread::Zipf(1.0), ..Plan::default() }, 1_000);
        let first = zipf[&Uuid::from_u128(1).to_string()];
        let tenth = zipf[&Uuid::from_u128(10).to_string()];
        assert!(first > 4 * tenth && tenth > 0, "{first} {tenth}");
        let hot = named(&Plan { products: Spread::Hot, ..Plan::default() }, 1_000);
        assert_eq!(hot[&Uuid::from_u128(1).to_string()], 2_000);
        let one = named(&Plan { products: Spread::Hot, lines: 1, ..Plan::default() }, 1_000);
        assert_eq!(one.len(), 1);
    }

    #[test]
    fn shares_are_kept() {
        let payments = vec![("CREDIT_CARD".to_owned(), 3.0), ("SANDBOX_DECLINE".to_owned(), 1.0)];
        let plan = Plan { payments, other_bodies: 0.1, repeats: 0.2, cancels: 0.3, ..Plan::default() };
        let shop = Shop::new(&plan, products(100)).unwrap();
        let drawn: Vec<_> = (0..4_000).map(|number| shop.order(&plan, number)).collect();
        let share = |is: &dyn Fn(&Drawn) -> bool| drawn.iter().filter(|d| is(d)).count();
        assert!((300..500).contains(&share(&|d| d.other.is_some())));
        assert!((650..950).contains(&share(&|d| d.repeated)));
        assert!((1_050..1_350).contains(&share(&|d| d.cancelled)));
        let declined = |d: &Drawn| d.body.ends_with(b"\"SANDBOX_DECLINE\"}");
        assert!((850..1_150).contains(&share(&declined)));
        assert!(drawn.iter().all(|d| d.other.as_ref() != Some(&d.body)));
    }

    #[test]
    fn ways_to_follow_are_mixed_by_weight() {
        let follow = vec![(Follow::Wait, 3.0), (Follow::Events, 1.0)];
        let plan = Plan { follow, ..Plan::default() };
        let shop = Shop::new(&plan, products(5)).unwrap();
        let events = (0..4_000).filter(|number| shop.order(&plan, *number).follow == Follow::Events).count();
        assert!((800..1_200).contains(&events), "{events}");
    }
}
