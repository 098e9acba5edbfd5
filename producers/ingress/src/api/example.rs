//! What the document's examples are about: the same product and order everywhere.

use uuid::Uuid;

/// The product of all examples.
pub const PRODUCT: Uuid = Uuid::from_u128(0x0025_bdd6_ff7f_59bc_b51e_9ad6_d439_d504);
/// The order of all examples.
pub const ORDER: Uuid = Uuid::from_u128(0xa4c9_f718_d917_5c47_838a_522f_83ed_a177);
/// What a call with a key of its own has made.
pub const EFFECT: Uuid = Uuid::from_u128(0x91c4_6c1c_7a05_5f0e_8f3d_2f7d_6f0b_5a01);
