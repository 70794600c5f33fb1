//! The agent: a build worker of CodePipeline on a machine of one's own (AGENT-1).
//!
//! One process that lives long. It asks CodePipeline for jobs of a custom action, and runs each as `runner run` in a process
//! of its own: a build is what it is on the command line, and what goes wrong in one is not the agent's.
//!
//! | file | what is there |
//! | --- | --- |
//! | [`pipeline`] | CodePipeline in our words, and the client that speaks to it |
//! | [`job`] | what a job asks for, and whether it may |
//! | [`state`] | what is on disk, so that nothing is lost or answered twice |
//! | [`poll`], [`room`] | when to ask, and for how many; whether jobs may be taken at all |
//! | `acknowledge`, [`doubt`] | whose a job is |
//! | [`work`], `attempt` | one job from its acknowledgement to its end; its inputs, build and outputs |
//! | [`history`] | what the record of a job tells others |
//! | [`input`], [`output`] | artifacts in and out |
//! | [`child`] | the process of a build |
//! | [`answer`], [`deliver`] | what a build comes to, and CodePipeline told of it |
//! | [`serve`], [`control`] | the process: signals, drain, limits; who speaks to it on its machine |
//! | [`log`] | what the agent says of itself |
//! | [`board`] | what it is doing, as a value that is shared |
//! | [`progress`] | whether all of it still moves |
//! | [`http`] | pages, metrics and health, which read the board |
//! | [`notify`], [`attend`] | what systemd is told, and when |
//! | [`logs`] | what builds write down goes to CloudWatch Logs and EventBridge |
//! | [`register`] | the action type that pipelines use |

mod acknowledge;
pub mod answer;
mod attempt;
pub mod attend;
pub mod board;
pub mod child;
pub mod control;
pub mod deliver;
pub mod doubt;
pub mod history;
pub mod http;
pub mod input;
pub mod job;
pub mod kept;
pub mod log;
pub mod logs;
pub mod notify;
pub mod output;
pub mod pipeline;
pub mod poll;
pub mod progress;
pub mod register;
pub mod room;
pub mod serve;
pub mod state;
pub mod work;
