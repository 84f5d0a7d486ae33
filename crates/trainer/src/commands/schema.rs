//! `trainer schema`: the JSON schema of configurations, by which editors complete and check them.

use anyhow::{Context, Result};
use schemars::schema_for;

use crate::config::RunConfig;

/// Prints the schema.
pub fn run() -> Result<()> {
    let schema = serde_json::to_string_pretty(&schema_for!(RunConfig));
    println!("{}", schema.context("cannot print the schema")?);
    Ok(())
}
