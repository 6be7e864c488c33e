//! The program as its users run it: arguments in; exit code, standard output and standard error out.

mod harness;

mod demo;
mod local;
mod pairing;
mod stop;
mod transfer;
