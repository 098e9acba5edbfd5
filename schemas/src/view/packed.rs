//! What stands in Redis for an order: claim, version and view, packed into one string of bytes, so that a script reads
//! it with one command and writes it with another. A hash of the same costs ten times as much: six fields found and
//! allocated one by one.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | state: `-` nothing claimed, `n` in flight and made anew, `t` in flight and taken over, `a` acknowledged |
//! | 1..9 | until when the claim is leased, ms of Redis's clock |
//! | 9..41 | hash of the request |
//! | 41..57 | the claim's id |
//! | 57..65 | the view's version and one; 0 where there is no view |
//! | 65..67 | length of the waiters' text |
//! | 67.. | gateways that wait, separated by commas; then the view |
//!
//! Numbers are big-endian. The view is the payload of the record it comes from, in the wire format: the `SubmitOrder`
//! under version 0, an event of `order.events` above. So whoever writes it renders nothing, and whoever reads it does.

use crate::{
    messages::{Body, BodyHash, OrderAmended, OrderEvent, OrderState, SubmitOrder},
    wire::{self, WireError},
};

/// Bytes before the waiters.
pub const HEAD: usize = 67;

/// Id of a claim.
pub type ClaimId = [u8; 16];

/// The claim of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// Nobody's, or released.
    Nothing,
    /// Leased.
    InFlight {
        /// Until then, in ms of Redis's clock.
        until: i64,
        /// Whose it is.
        id: ClaimId,
        /// Made anew, not taken over from one that lapsed.
        is_new: bool,
    },
    /// Its record was acknowledged, or its event was seen.
    Answered,
}

/// What stands for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed<'a> {
    /// The claim.
    pub claim: ClaimState,
    /// Hash of the request; `None`: a miss for a POST.
    pub body_hash: Option<BodyHash>,
    /// Gateways that wait for a change, separated by commas.
    pub waiters: &'a [u8],
    /// Version and payload of the view; `None`: a miss for a GET. Version 0 is the edge's own, written with the claim.
    pub view: Option<(i64, &'a [u8])>,
}

impl<'a> Packed<'a> {
    /// Reads what stands there; `None` where it is nothing of ours.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (state, bytes) = bytes.split_first()?;
        let (until, bytes) = bytes.split_first_chunk()?;
        let (hash, bytes) = bytes.split_first_chunk()?;
        let (id, bytes) = bytes.split_first_chunk()?;
        let (version, bytes) = bytes.split_first_chunk()?;
        let (length, bytes) = bytes.split_first_chunk()?;
        let (waiters, payload) = bytes.split_at_checked(u16::from_be_bytes(*length).into())?;
        let in_flight = |is_new| ClaimState::InFlight { until: i64::from_be_bytes(*until), id: *id, is_new };
        let claim = match state {
            b'-' => ClaimState::Nothing,
            b'n' => in_flight(true),
            b't' => in_flight(false),
            b'a' => ClaimState::Answered,
            _ => return None,
        };
        let version = i64::from_be_bytes(*version);
        Some(Self {
            claim,
            body_hash: (claim != ClaimState::Nothing).then_some(BodyHash(*hash)),
            waiters,
            view: (version > 0).then_some((version - 1, payload)),
        })
    }
}

/// What a claim's script needs of an order: all behind the lease. Without `payload`, without a view.
#[must_use]
pub fn claimed(hash: BodyHash, id: ClaimId, payload: Option<&[u8]>) -> Vec<u8> {
    let version = i64::from(payload.is_some());
    let payload = payload.unwrap_or_default();
    let mut packed = Vec::with_capacity(HEAD + payload.len());
    tail(&mut packed, hash, id, version, payload);
    packed
}

/// A view as [`WRITE`] takes it: version, hash and payload.
#[must_use]
pub fn written(hash: BodyHash, version: i64, payload: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(HEAD + payload.len());
    packed.push(b'a');
    packed.extend_from_slice(&[0; 8]);
    tail(&mut packed, hash, ClaimId::default(), version.saturating_add(1), payload);
    packed
}

fn tail(packed: &mut Vec<u8>, hash: BodyHash, id: ClaimId, version: i64, payload: &[u8]) {
    packed.extend_from_slice(&hash.0);
    packed.extend_from_slice(&id);
    packed.extend_from_slice(&version.to_be_bytes());
    // nobody waits yet: the script puts those in who do
    packed.extend_from_slice(&[0; 2]);
    packed.extend_from_slice(payload);
}

/// An order's row as [`WRITE`] takes it.
///
/// # Errors
/// As [`wire::encode`].
pub fn written_of(order: OrderState) -> Result<Vec<u8>, WireError> {
    let (hash, version) = (order.body_hash, order.version);
    // any event carries an order's whole state, and this one says nothing of what led there
    Ok(written(hash, version, &wire::encode(&OrderAmended { order })?))
}

/// The order that a view's payload tells of.
///
/// # Errors
/// [`WireError`]: no payload of ours, or one of a newer release.
pub fn order_of(payload: &[u8]) -> Result<OrderState, WireError> {
    let (entry, body) = wire::open(payload)?;
    if entry.record == SubmitOrder::NAME {
        return wire::decode_body(entry, body).map(OrderState::pending);
    }
    OrderEvent::decode(payload).map(OrderEvent::into_order)
}

/// Writes views that are newer, and tells the gateways that wait.
///
/// KEYS: the orders'. ARGV: time to live in ms, then what [`written`] gives for each. Returns for each 1 when it was
/// written, 0 when an equal or newer version was there. What an event says of the body hash is the truth, whatever a
/// claim said before; and what is nothing of ours is overwritten.
pub const WRITE: &str = r"
local results = {}
for i, key in ipairs(KEYS) do
  local new = ARGV[i + 1]
  local there = redis.pcall('GETRANGE', key, 57, 66)
  local seen, waiters = 0, ''
  if type(there) == 'string' and #there == 10 then
    local length
    seen, length = struct.unpack('>I8I2', there)
    if length > 0 then waiters = redis.call('GETRANGE', key, 67, 66 + length) end
  end
  results[i] = 0
  if struct.unpack('>I8', new, 58) > seen then
    if waiters ~= '' then
      new = string.sub(new, 1, 65) .. struct.pack('>I2', #waiters) .. waiters .. string.sub(new, 68)
    end
    redis.call('SET', key, new, 'PX', ARGV[1])
    for gateway in string.gmatch(waiters, '[^,]+') do
      redis.call('PUBLISH', 'gateway:' .. gateway, string.match(key, '{(.*)}'))
    end
    results[i] = 1
  end
end
return results
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{OrderId, ProductId},
        messages::{OrderStatus, PricedLine, TimelineEntry},
        money::Currency,
        time::Timestamp,
    };
    use uuid::Uuid;

    fn order() -> OrderState {
        OrderState {
            order_id: OrderId(Uuid::from_u128(7)),
            owner: "issuer\nann".to_owned(),
            body_hash: BodyHash([3; 32]),
            version: 3,
            status: OrderStatus::Confirmed,
            reason: Some("a reason".to_owned()),
            currency: Currency::USD,
            total: 2_598,
            refunded: 0,
            lines: vec![PricedLine {
                product_id: ProductId(Uuid::from_u128(5)),
                quantity: 2,
                unit_price: 1_299,
            }],
            shipping_address: "1 Harbour Road".to_owned(),
            payment_method: "CREDIT_CARD".to_owned(),
            accepted_at: Timestamp(1_700_000_000_000),
            deadline: Timestamp(1_700_000_900_000),
            updated_at: Timestamp(1_700_000_000_000),
            timeline: vec![TimelineEntry {
                at: Timestamp(1_700_000_000_000),
                event: "ACCEPTED".to_owned(),
                detail: None,
            }],
        }
    }

    #[test]
    fn what_is_packed_is_read_again() {
        let hash = BodyHash([3; 32]);
        let in_flight =
            [b"n".as_slice(), &9_i64.to_be_bytes(), &claimed(hash, [5; 16], Some(b"view"))].concat();
        let read = Packed::read(&in_flight).unwrap();
        assert_eq!(read.claim, ClaimState::InFlight { until: 9, id: [5; 16], is_new: true });
        assert_eq!((read.body_hash, read.view), (Some(hash), Some((0, b"view".as_slice()))));
        let unproved = [b"t".as_slice(), &0_i64.to_be_bytes(), &claimed(hash, [5; 16], None)].concat();
        assert_eq!(Packed::read(&unproved).unwrap().view, None);
        assert_eq!(unproved.len(), HEAD);

        let packed = written_of(order()).unwrap();
        let read = Packed::read(&packed).unwrap();
        let (version, payload) = read.view.unwrap();
        assert_eq!((read.claim, version), (ClaimState::Answered, 3));
        assert_eq!(order_of(payload).unwrap(), order());
    }

    #[test]
    fn what_is_nothing_of_ours_is_not_read() {
        let packed = written_of(order()).unwrap();
        assert_eq!(Packed::read(b"x"), None);
        assert_eq!(Packed::read(&packed[..HEAD - 1]), None);
        let mut longer = packed[..HEAD].to_vec();
        longer[65] = 1;
        assert_eq!(Packed::read(&longer), None, "its waiters end behind it");
        let mut unknown = packed;
        unknown[0] = b'?';
        assert_eq!(Packed::read(&unknown), None);
    }
}
