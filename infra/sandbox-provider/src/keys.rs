//! Idempotency keys, as Stripe keeps them: the first answer that a call came to is every repeat's. Pure.

use std::{collections::HashMap, sync::Arc};

/// An answer as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Arc<str>,
}

/// What a key says to a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is the first: it is done, and its answer kept.
    First,
    /// It was done before.
    Repeat(Answer),
    /// Another call with the key is under way.
    InUse,
    /// The key was used for something else.
    OtherRequest,
    /// No more keys are kept.
    Full,
}

#[derive(Debug)]
struct Key {
    request: String,
    answer: Option<Answer>,
}

/// All keys.
#[derive(Debug)]
pub(crate) struct Keys {
    keys: HashMap<String, Key>,
    most: usize,
}

impl Keys {
    pub(crate) fn new(most: usize) -> Self {
        Self { keys: HashMap::new(), most }
    }

    /// Claims `key` for `request` (path and body, as they came).
    pub(crate) fn claim(&mut self, key: &str, request: &str) -> Claim {
        match self.keys.get(key) {
            Some(known) if known.request != request => Claim::OtherRequest,
            Some(Key { answer: Some(answer), .. }) => Claim::Repeat(answer.clone()),
            Some(_) => Claim::InUse,
            None if self.keys.len() >= self.most => Claim::Full,
            None => {
                self.keys.insert(key.to_owned(), Key { request: request.to_owned(), answer: None });
                Claim::First
            }
        }
    }

    /// The call came to its answer.
    pub(crate) fn keep(&mut self, key: &str, answer: Answer) {
        if let Some(known) = self.keys.get_mut(key) {
            known.answer = Some(answer);
        }
    }

    /// Nothing was begun: the key is free again.
    pub(crate) fn release(&mut self, key: &str) {
        self.keys.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_is_every_repeats_and_no_other_requests() {
        let mut keys = Keys::new(2);
        let answer = Answer { status: 402, body: "no".into() };
        assert_eq!(keys.claim("a", "r"), Claim::First);
        assert_eq!(keys.claim("a", "r"), Claim::InUse);
        assert_eq!(keys.claim("a", "s"), Claim::OtherRequest);
        keys.keep("a", answer.clone());
        assert_eq!(keys.claim("a", "r"), Claim::Repeat(answer));
        assert_eq!(keys.claim("a", "s"), Claim::OtherRequest);
        assert_eq!(keys.claim("b", "r"), Claim::First);
        assert_eq!(keys.claim("c", "r"), Claim::Full);
        keys.release("b");
        assert_eq!(keys.claim("c", "r"), Claim::First);
    }
}
