//! One client connection: what does not change between its requests.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
