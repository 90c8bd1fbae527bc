//! Client quotas (KIP-546), kept as they are set.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use proto::Float64;
use proto::metadata::{ClientQuotaRecord, EntityData, MetadataRecord};

use crate::changes::Changes;

/// Whom a quota is for: entity types (`user`, `client-id`, `ip`) and names, `None` for the default.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuotaEntity(pub BTreeMap<String, Option<String>>);

/// Quota values by key, by entity; no entity without a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Quotas {
    pub(crate) entities: OrdMap<QuotaEntity, Arc<BTreeMap<String, Float64>>>,
}

impl Quotas {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&QuotaEntity, impl Iterator<Item = (&str, f64)>)> {
        self.entities
            .iter()
            .map(|(entity, values)| (entity, values.iter().map(|(key, value)| (key.as_str(), value.get()))))
    }

    pub(crate) fn set(&mut self, record: &ClientQuotaRecord, changes: &mut Changes) {
        let part = |data: &EntityData| (data.entity_type.clone(), data.entity_name.clone());
        let entity = QuotaEntity(record.entity.iter().map(part).collect());
        let mut values = self.entities.get(&entity).cloned().unwrap_or_default();
        if record.remove {
            Arc::make_mut(&mut values).remove(&record.key);
        } else {
            Arc::make_mut(&mut values).insert(record.key.clone(), record.value);
        }
        if values.is_empty() {
            self.entities.remove(&entity);
        } else {
            self.entities.insert(entity.clone(), values);
        }
        changes.quotas.insert(entity);
    }

    pub(crate) fn records(&self, emit: &mut dyn FnMut(MetadataRecord)) {
        for (entity, values) in &self.entities {
            let part = |(kind, name): (&String, &Option<String>)| EntityData {
                entity_type: kind.clone(),
                entity_name: name.clone(),
            };
            for (key, value) in values.iter() {
                let entity = entity.0.iter().map(part).collect();
                emit(ClientQuotaRecord { entity, key: key.clone(), value: *value, remove: false }.into());
            }
        }
    }
}
