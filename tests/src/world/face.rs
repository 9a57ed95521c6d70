//! The simulated cloud as one process of volume-svc sees it through its ports: EC2 (`ec2.rs`), Auto Scaling
//! (`autoscaling.rs`) and the agents (`agent.rs`). Conversions only; a changing call is a border of the process's fuse.

use super::cloud::{Cloud, Failed};
use super::fuse::Fuse;
use cloud_sim::api::Request;
use std::sync::Arc;

/// The ports of one process.
#[derive(Clone, Debug)]
pub struct Face {
    pub(super) cloud: Arc<Cloud>,
    fuse: Arc<Fuse>,
}

impl Face {
    /// For a process with this fuse.
    pub fn new(cloud: Arc<Cloud>, fuse: Arc<Fuse>) -> Self {
        Self { cloud, fuse }
    }

    /// A call that changes something.
    pub(super) async fn change<R: Request>(&self, request: R) -> Result<R::Answer, Failed> {
        self.fuse.border().await;
        let answer = self.cloud.ask(request).await;
        self.fuse.border().await;
        answer
    }
}
