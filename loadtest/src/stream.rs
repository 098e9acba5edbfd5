//! Server-sent events: cuts what arrives into events, and tells the data of each.

/// Most bytes of one event; a longer one is dropped whole.
const MOST: usize = 1 << 20;

/// What has arrived of the event that is not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Events {
    begun: Vec<u8>,
}

impl Events {
    /// Takes what arrived, and hands the data of each event that is whole now to `hear`. Comments have none.
    pub(crate) fn take(&mut self, arrived: &[u8], mut hear: impl FnMut(&[u8])) {
        self.begun.extend_from_slice(arrived);
        while let Some(end) = self.begun.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = self.begun.drain(..end + 2).collect();
            let data = event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data: "));
            if let Some(data) = data {
                hear(data);
            }
        }
        if self.begun.len() > MOST {
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_wherever_the_network_cuts_them() {
        let text = b"retry: 1000\nid: 1\ndata: {\"a\":1}\n\n:\n\nid: 2\ndata: {\"a\":2}\n\n";
        for size in 1..text.len() {
            let (mut events, mut heard) = (Events::default(), Vec::new());
            for chunk in text.chunks(size) {
                events.take(chunk, |data| heard.push(String::from_utf8(data.to_vec()).unwrap()));
            }
            assert_eq!(heard, ["{\"a\":1}", "{\"a\":2}"]);
        }
    }

    #[test]
    fn what_never_ends_is_not_kept() {
        let mut events = Events::default();
        for _ in 0..3 {
            events.take(&vec![b'x'; MOST], |_| unreachable!());
            assert!(events.begun.len() <= MOST);
        }
    }
}
