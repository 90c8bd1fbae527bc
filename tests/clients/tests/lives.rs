//! A group of ten that grows, shrinks and loses members while records flow, of each client and in each of its styles:
//! every record is seen at least once, and no committed offset ever goes back.
//!
//! With few records, four of them stand for all. The whole of it, with 100,000 records each:
//! `KASTLE_RECORDS=100000 cargo test -p kastle-clients --test lives -- --nocapture --test-threads 1`

use std::path::Path;

use anyhow::Result;
use kastle_clients::life::{Style, is_full, live};
use kastle_clients::{
    Client, confluent_kafka, franz_go, java, kafka_python, kafkajs, kcat_in_groups, rdkafka,
};

/// In short and in full.
fn check(client: Result<Option<Client>>, style: Style) {
    let Some(client) = client.expect("the client") else { return };
    let figures = live(&client, style).expect("the group holds");
    // Three sizes on the way up, and every step after them: none without partitions that moved.
    assert!(figures.changes > 20, "{figures:?}");
}

/// In full alone.
fn check_in_full(client: fn() -> Result<Option<Client>>, style: Style) {
    match is_full() {
        true => check(client(), style),
        false => eprintln!("skipped: to live it in full: KASTLE_RECORDS=100000"),
    }
}

fn kafka() -> Result<Option<Client>> {
    java(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

fn crate_of_rust() -> Result<Option<Client>> {
    Ok(Some(rdkafka(env!("CARGO_BIN_EXE_rdkafka-member"))))
}

fn kcat() -> Result<Option<Client>> {
    kcat_in_groups(rdkafka(env!("CARGO_BIN_EXE_rdkafka-member")))
}

#[test]
fn confluent_kafka_is_eager() {
    check_in_full(confluent_kafka, Style::Eager);
}

#[test]
fn confluent_kafka_is_cooperative() {
    check_in_full(confluent_kafka, Style::Cooperative);
}

#[test]
fn confluent_kafka_is_static() {
    check_in_full(confluent_kafka, Style::Static);
}

#[test]
fn confluent_kafka_speaks_the_new_protocol() {
    check_in_full(confluent_kafka, Style::Consumer);
}

#[test]
fn kcat_is_eager() {
    check_in_full(kcat, Style::Eager);
}

#[test]
fn kcat_is_cooperative() {
    check_in_full(kcat, Style::Cooperative);
}

#[test]
fn kcat_is_static() {
    check_in_full(kcat, Style::Static);
}

#[test]
fn rdkafka_is_eager() {
    check_in_full(crate_of_rust, Style::Eager);
}

#[test]
fn rdkafka_is_cooperative() {
    check_in_full(crate_of_rust, Style::Cooperative);
}

#[test]
fn rdkafka_is_static() {
    check(crate_of_rust(), Style::Static);
}

#[test]
fn rdkafka_speaks_the_new_protocol() {
    check_in_full(crate_of_rust, Style::Consumer);
}

#[test]
fn kafka_python_is_eager() {
    check(kafka_python(), Style::Eager);
}

#[test]
fn kafka_python_is_cooperative() {
    check(kafka_python(), Style::Cooperative);
}

#[test]
fn kafka_python_is_static() {
    check_in_full(kafka_python, Style::Static);
}

#[test]
fn kafkajs_is_eager() {
    check(kafkajs(), Style::Eager);
}

#[test]
fn franz_go_is_eager() {
    check_in_full(franz_go, Style::Eager);
}

#[test]
fn franz_go_is_cooperative() {
    check_in_full(franz_go, Style::Cooperative);
}

#[test]
fn franz_go_is_static() {
    check_in_full(franz_go, Style::Static);
}

#[test]
fn franz_go_speaks_the_new_protocol() {
    check_in_full(franz_go, Style::Consumer);
}

#[test]
fn kafkas_own_client_is_eager() {
    check_in_full(kafka, Style::Eager);
}

#[test]
fn kafkas_own_client_is_cooperative() {
    check_in_full(kafka, Style::Cooperative);
}

#[test]
fn kafkas_own_client_is_static() {
    check_in_full(kafka, Style::Static);
}

#[test]
fn kafkas_own_client_speaks_the_new_protocol() {
    check_in_full(kafka, Style::Consumer);
}
