//! imgxferd
fn main() {}
