//! 
use bytes::Bytes;
use http_body::Frame;

pub fn clean_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    frame
}
