//! Values that lie with AWS: the Parameter Store, Secrets Manager, and what is given instead of them (ENV-20 to ENV-28).

mod error;
mod fetch;
mod parameter_store;
mod secrets_manager;

pub use error::{Error, Problem};
pub use fetch::{Fetched, SecretSource};
