//! `kastle storage random-uuid`: an id for a new cluster.

use model::Uuid;

use crate::failure::{Failure, Outcome, say};

pub fn run() -> Outcome {
    say(random_id()?)
}

/// A random id that Kafka would also draw: not reserved, not beginning with `-`.
pub fn random_id() -> Outcome<Uuid> {
    loop {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| {
            Failure::refused(format!("cannot draw an id: {error}; the machine's random source is not ready"))
        })?;
        if let Some(id) = Uuid::from_random(bytes) {
            return Ok(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Uuid;

    use super::random_id;

    #[test]
    fn an_id_reads_back_and_no_two_are_alike() {
        let [one, two] = [(); 2].map(|()| random_id().expect("the machine has random bytes"));
        assert_ne!(one, two);
        assert_eq!(one.to_string().parse::<Uuid>(), Ok(one));
    }
}
