//! placeholder
#[derive(Debug, Default)]
pub struct Answers;
#[derive(Debug)]
pub struct Doubt;
