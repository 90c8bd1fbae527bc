//! `--add-scram`: the credentials of users that a new cluster knows from its beginning (KIP-900).
//!
//! `SCRAM-SHA-256=[name=alice,password=alice-secret]`, or instead of the password
//! `salt=BASE64,saltedpassword=BASE64`; `iterations=N` with either. What is written is what a
//! server needs to check a password and not the password itself (RFC 5802). Brokers that
//! authenticate each other by SCRAM could not begin without.

use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2_hmac;
use proto::metadata::UserScramCredentialRecord;
use sha2::{Digest, Sha256, Sha512};

/// Kafka's bounds: fewer are too quick to guess, more let a login take a server's time.
const ITERATIONS_MIN: i32 = 4_096;
const ITERATIONS_MAX: i32 = 16_384;
/// Of a salt that nobody chose.
const SALT_BYTES: usize = 24;
/// As Java reads it: the padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads `--add-scram`'s value; `draw` fills a new salt. An error is the cause.
pub fn credential(
    text: &str,
    draw: impl FnOnce(&mut [u8]) -> Result<(), String>,
) -> Result<UserScramCredentialRecord, String> {
    let (mechanism, components) = text
        .split_once('=')
        .ok_or_else(|| format!("Failed to find equals sign in SCRAM argument '{text}'"))?;
    let mechanism = Mechanism::named(mechanism)
        .ok_or_else(|| format!("The add-scram mechanism {mechanism} is not supported."))?;
    let mut given = Components::parse(components)?;
    let name = given.take("name").ok_or("You must supply 'name' to add-scram")?;
    let iterations = given.iterations(mechanism)?;
    let salt = given.take("salt").map(|text| decode("salt", &text)).transpose()?;
    let (password, salted) = (given.take("password"), given.take("saltedpassword"));
    given.nothing_left()?;
    let (salt, salted) = match (password, salted) {
        (Some(password), _) if password.is_empty() => {
            return Err("The password for add-scram is empty".to_owned());
        }
        (Some(password), _) => {
            let salt = match salt {
                Some(salt) => salt,
                None => {
                    let mut drawn = vec![0; SALT_BYTES];
                    draw(&mut drawn)?;
                    drawn
                }
            };
            let salted = mechanism.salted(password.as_bytes(), &salt, iterations);
            (salt, salted)
        }
        (None, Some(salted)) => {
            let salt = salt.ok_or("You must supply 'salt' with 'saltedpassword' to add-scram")?;
            (salt, decode("saltedPassword", &salted)?)
        }
        (None, None) => {
            return Err("You must supply one of 'password' or 'saltedpassword' to add-scram".to_owned());
        }
    };
    let (stored_key, server_key) = mechanism.keys(&salted);
    let mechanism = mechanism.number();
    Ok(UserScramCredentialRecord { name, mechanism, salt, stored_key, server_key, iterations })
}

#[derive(Clone, Copy)]
enum Mechanism {
    Sha256,
    Sha512,
}

impl Mechanism {
    fn named(name: &str) -> Option<Self> {
        match name {
            "SCRAM-SHA-256" => Some(Self::Sha256),
            "SCRAM-SHA-512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Kafka's number for it.
    fn number(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// RFC 5802's SaltedPassword. Kafka does not normalize passwords, so neither may we.
    fn salted(self, password: &[u8], salt: &[u8], iterations: i32) -> Vec<u8> {
        let rounds = iterations.unsigned_abs();
        match self {
            Self::Sha256 => {
                let mut salted = vec![0; 32];
                pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut salted);
                salted
            }
            Self::Sha512 => {
                let mut salted = vec![0; 64];
                pbkdf2_hmac::<Sha512>(password, salt, rounds, &mut salted);
                salted
            }
        }
    }

    /// RFC 5802's StoredKey and ServerKey.
    fn keys(self, salted: &[u8]) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Sha256 => {
                let client = mac::<Hmac<Sha256>>(salted, b"Client Key");
                (Sha256::digest(client).to_vec(), mac::<Hmac<Sha256>>(salted, b"Server Key"))
            }
            Self::Sha512 => {
                let client = mac::<Hmac<Sha512>>(salted, b"Client Key");
                (Sha512::digest(client).to_vec(), mac::<Hmac<Sha512>>(salted, b"Server Key"))
            }
        }
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("a key of any length is taken");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// `[key=value,...]`; the last value of a key counts.
struct Components(BTreeMap<String, String>);

impl Components {
    fn parse(text: &str) -> Result<Self, String> {
        let inner = text.trim().strip_prefix('[').ok_or("Expected configuration string to start with [")?;
        let inner = inner.strip_suffix(']').ok_or("Expected configuration string to end with ]")?;
        let read = |component: &str| {
            let (key, value) = component
                .split_once('=')
                .ok_or_else(|| format!("No equals sign found in SCRAM component: {component}"))?;
            let value = value.trim();
            let bare = value.strip_prefix('"').unwrap_or(value);
            let bare = bare.strip_suffix('"').unwrap_or(bare);
            Ok((key.trim().to_owned(), bare.to_owned()))
        };
        inner
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .map(read)
            .collect::<Result<_, String>>()
            .map(Self)
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn iterations(&mut self, mechanism: Mechanism) -> Result<i32, String> {
        let Some(text) = self.take("iterations") else { return Ok(ITERATIONS_MIN) };
        let count: i32 = text.parse().map_err(|_| format!("Failed to parse iterations count: {text}"))?;
        let of = match mechanism {
            Mechanism::Sha256 => "SCRAM_SHA_256",
            Mechanism::Sha512 => "SCRAM_SHA_512",
        };
        if count < ITERATIONS_MIN {
            return Err(format!(
                "The 'iterations' value must be >= {ITERATIONS_MIN} for add-scram using {of}"
            ));
        }
        if count > ITERATIONS_MAX {
            return Err(format!(
                "The 'iterations' value must be <= {ITERATIONS_MAX} for add-scram using {of}"
            ));
        }
        Ok(count)
    }

    fn nothing_left(&self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let unknown: Vec<&str> = self.0.keys().map(String::as_str).collect();
        Err(format!("Unknown SCRAM configurations: {}", unknown.join(", ")))
    }
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>, String> {
    match BASE64.decode(text) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(format!("Failed to decode given {what}: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::credential;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// An argument and the record it comes to, or the cause why not. A drawn salt is all sevens.
    fn check(text: &str, outcome: &str) {
        let draw = |salt: &mut [u8]| {
            salt.fill(7);
            Ok(())
        };
        let shown = credential(text, draw).map_or_else(
            |cause| cause,
            |record| {
                let (salt, stored, server) =
                    (hex(&record.salt), hex(&record.stored_key), hex(&record.server_key));
                format!(
                    "{} {} {} salt {} stored {} server {}",
                    record.name,
                    record.mechanism,
                    record.iterations,
                    &salt[..8],
                    &stored[..16],
                    &server[..16]
                )
            },
        );
        assert_eq!(shown, outcome);
    }

    /// The values are what Kafka 4.3.1's own tool wrote for the same arguments.
    #[test]
    fn credentials_are_kafkas() {
        check(
            "SCRAM-SHA-256=[name=alice,iterations=8192,salt=MWx2NHBkbnc0ZndxN25vdGN4bTB5Y3c=,password=alice]",
            "alice 1 8192 salt 316c7634 stored c935dabd25a0c552 server b1b4d833197c15a4",
        );
        check(
            "SCRAM-SHA-256=[name=alice,iterations=8192,salt=\"MWx2NHBkbnc0ZndxN25vdGN4bTB5Y3c=\",\
             saltedpassword=\"mT0yyUUxnlJaC99HXgRTSYlbuqa4FSGtJCJfTMvjYCE=\"]",
            "alice 1 8192 salt 316c7634 stored 5d322aa071e8decb server 65ae77476c843484",
        );
        check(
            "SCRAM-SHA-512=[name=alice,salt=Zzg4emk1dGx1MTNlNmtseTZhcndkenI4eg==,password=x]",
            "alice 2 4096 salt 6738387a stored 9c0f086245c69392 server d9b0aac23d54de0c",
        );
    }

    #[test]
    fn what_is_not_said_is_kafkas_default_and_the_last_word_counts() {
        let record = credential("SCRAM-SHA-256=[name=a,name=b,password=x]", |salt| {
            salt.fill(9);
            Ok(())
        });
        let record = record.expect("well-formed");
        assert_eq!((record.name.as_str(), record.iterations, record.salt), ("b", 4096, vec![9; 24]));
    }

    #[test]
    fn what_kafka_refuses_is_refused_in_its_words() {
        check("foo", "Failed to find equals sign in SCRAM argument 'foo'");
        check("SCRAM-SHA-1=[name=a,password=x]", "The add-scram mechanism SCRAM-SHA-1 is not supported.");
        check("SCRAM-SHA-256=name=a,password=x", "Expected configuration string to start with [");
        check("SCRAM-SHA-256=[name=a,password=x", "Expected configuration string to end with ]");
        check("SCRAM-SHA-256=[name=a,password=x,c\"]", "No equals sign found in SCRAM component: c\"");
        check("SCRAM-SHA-256=[password=x]", "You must supply 'name' to add-scram");
        let neither = "You must supply one of 'password' or 'saltedpassword' to add-scram";
        check("SCRAM-SHA-256=[name=a]", neither);
        let unsalted = "You must supply 'salt' with 'saltedpassword' to add-scram";
        check("SCRAM-SHA-256=[name=a,saltedpassword=mT0y]", unsalted);
        check("SCRAM-SHA-256=[name=a,password=x,foo=bar]", "Unknown SCRAM configurations: foo");
        let few = "The 'iterations' value must be >= 4096 for add-scram using SCRAM_SHA_256";
        check("SCRAM-SHA-256=[name=a,iterations=100,password=x]", few);
        let many = "The 'iterations' value must be <= 16384 for add-scram using SCRAM_SHA_512";
        check("SCRAM-SHA-512=[name=a,iterations=99999,password=x]", many);
        check("SCRAM-SHA-256=[name=a,iterations=abc,password=x]", "Failed to parse iterations count: abc");
        check("SCRAM-SHA-256=[name=a,salt=***,password=x]", "Failed to decode given salt: ***");
        check("SCRAM-SHA-256=[name=a,password=]", "The password for add-scram is empty");
    }
}
