//! What a round trip says about a claimed place: *too near* is proof, *too far* is only evidence.
