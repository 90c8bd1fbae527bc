//! Histories of transactional ids, with the codes that Kafka 4.3 answers.

mod ends;
mod failures;
mod producers;
mod random;
mod seam;
