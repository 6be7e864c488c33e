//! Models of pixel data.
#![allow(dead_code, reason = "nothing calls the models yet")]

mod deep;
mod plane;
