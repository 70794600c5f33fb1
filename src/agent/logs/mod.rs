//! What builds write down goes to CloudWatch Logs and EventBridge, and no build waits for it (AGENT-60).
//!
//! A build's events are in a file of its job's directory, one a line as they come. That file is the queue: what sends
//! ([`ship`]) follows it ([`follower`]) with what makes log events of it ([`lines`]), packs them into requests ([`batch`])
//! for a service ([`cloudwatch`], by the way that the buildspec asks for: [`route`]), and notes on disk how far it is ([`state`]). What changes in a build ([`changes`]) goes
//! the same way to an event bus ([`eventbridge`]). [`shipping`] has all builds of an agent; it is what the agent knows.

pub mod about;
pub mod batch;
pub mod changes;
pub mod cloudwatch;
pub mod eventbridge;
pub mod follower;
pub mod lines;
pub mod route;
pub mod ship;
pub mod shipping;
pub mod state;
pub mod telling;
