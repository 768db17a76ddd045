//! Many changes in one request, all or none.

use awc::http::Method;
use tidings_api::operations::{
    MAX_OPERATIONS, Operation, OperationResult, OperationResults, OperationsDocument,
};
use tidings_api::{ATOMIC_EXTENSION, MEDIA_TYPE};

use crate::{Client, Error, Event, Flags, Sequence, client};

/// Operations that the server carries out in order, all or none. From [`Client::operations`], or from
/// [`blocking::Client::operations`](crate::blocking::Client::operations).
#[derive(Clone, Debug)]
#[must_use = "operations do nothing until they are sent"]
pub struct Operations<C = Client> {
    pub(crate) client: C,
    pub(crate) operations: Vec<Operation>,
}

impl<C> Operations<C> {
    pub(crate) fn new(client: C) -> Self {
        Operations { client, operations: Vec::new() }
    }

    /// Posts an event. Needs a key of the role `producer`.
    ///
    /// One without an id of its own is given one, so that a retry can't store it twice.
    #[expect(clippy::should_implement_trait, reason = "the operation's own name in JSON:API")]
    pub fn add(mut self, mut event: Event) -> Self {
        event.attributes.event_id.get_or_insert_with(client::unique);
        let document = event.into_document();
        self.operations.push(Operation::Add { data: document.data, included: document.included });
        self
    }

    /// Changes flags of a notification. Needs a key of the role `consumer`.
    pub fn update(mut self, id: Sequence, flags: Flags) -> Self {
        self.operations.push(Operation::Update { r#ref: None, data: client::flags_data(id, flags) });
        self
    }
}

impl Operations {
    /// Has them carried out. The results are in the order of the operations. Without any, nothing is sent.
    ///
    /// # Errors
    /// When one fails, none has been carried out. More than 1,000 are refused ([`Error::Invalid`]).
    pub async fn send(self) -> Result<Vec<OperationResult>, Error> {
        let Operations { client, operations } = self;
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        if operations.len() > MAX_OPERATIONS {
            return Err(Error::Invalid(format!("at most {MAX_OPERATIONS} operations fit into one request")));
        }
        let media_type = format!("{MEDIA_TYPE};ext=\"{ATOMIC_EXTENSION}\"");
        let mut request = client.request(Method::POST, &["operations"])?;
        client::set_body(&mut request, media_type, &OperationsDocument { operations })?;
        let results: OperationResults = client::decode(&client.send(request).await?)?;
        Ok(results.results)
    }
}
