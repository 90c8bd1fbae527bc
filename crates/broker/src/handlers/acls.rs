//! DescribeAcls, CreateAcls and DeleteAcls where nobody authorizes: no, in Kafka's words.
//!
//! Lists that came with a cluster's records stay as they are.

use model::ErrorCode;
use wire::messages::{RequestKind, ResponseKind};

/// What each of them is answered in `version`; `None` for other requests.
pub fn handle(request: &RequestKind, version: i16) -> Option<ResponseKind> {
    let why = match request {
        RequestKind::DescribeAcls(_) => "No Authorizer is configured on the broker",
        RequestKind::CreateAcls(_) | RequestKind::DeleteAcls(_) => "No Authorizer is configured.",
        _ => return None,
    };
    wire::errors::respond(request, version, ErrorCode::SecurityDisabled, Some(why))
}

#[cfg(test)]
mod tests {
    use wire::messages::create_acls_request::AclCreation;
    use wire::messages::delete_acls_request::DeleteAclsFilter;
    use wire::messages::{
        CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, MetadataRequest, ResponseKind,
    };

    use super::handle;

    #[test]
    fn who_asks_for_lists_is_told_for_each_that_nobody_authorizes() {
        match handle(&DescribeAclsRequest::default().into(), 3) {
            Some(ResponseKind::DescribeAcls(response)) => {
                assert_eq!(response.error_code, 54);
                assert_eq!(
                    response.error_message.as_deref(),
                    Some("No Authorizer is configured on the broker")
                );
            }
            other => panic!("{other:?}"),
        }
        let creations = vec![AclCreation::default(); 2];
        match handle(&CreateAclsRequest::default().with_creations(creations).into(), 3) {
            Some(ResponseKind::CreateAcls(response)) => {
                assert_eq!(response.results.iter().map(|it| it.error_code).collect::<Vec<_>>(), [54, 54]);
            }
            other => panic!("{other:?}"),
        }
        let filters = vec![DeleteAclsFilter::default(); 3];
        match handle(&DeleteAclsRequest::default().with_filters(filters).into(), 1) {
            Some(ResponseKind::DeleteAcls(response)) => {
                let codes: Vec<i16> = response.filter_results.iter().map(|it| it.error_code).collect();
                assert_eq!(codes, [54, 54, 54]);
                assert!(response.filter_results.iter().all(|it| it.matching_acls.is_empty()));
            }
            other => panic!("{other:?}"),
        }
        assert!(handle(&MetadataRequest::default().into(), 12).is_none());
    }
}
