"""What a program in Python says to the server through the client that openapi-python-client has made."""

import json
import os
from typing import TypeVar

from tidings import AuthenticatedClient
from tidings.api.notifications import (
    get_notification,
    list_notifications,
    patch_notification,
    post_notification,
    post_operations,
)
from tidings.models import (
    AddOperation,
    AddOperationOp,
    ErrorDocument,
    EventAttributes,
    EventData,
    EventDocument,
    EventRelationship,
    EventRelationships,
    Flags,
    FlagsData,
    Identifier,
    JsonApiFlags,
    NotificationDocument,
    NotificationPage,
    OperationResults,
    OperationsDocument,
    PostedDocument,
    RawResource,
    RawResourceType,
    UpdateOperation,
    UpdateOperationOp,
)

client = AuthenticatedClient(
    base_url=os.environ["TIDINGS_URL"],
    token=os.environ["TIDINGS_KEY"],
    prefix="",
    auth_header_name="x-api-key",
)


T = TypeVar("T")


def a(kind: type[T], answer: object) -> T:
    """The answer, if it is of this kind."""
    assert isinstance(answer, kind), answer
    return answer


def event(kind: str) -> EventDocument:
    user = Identifier(type_="user", id="100")
    return EventDocument(
        data=EventData(
            type_="notification",
            attributes=EventAttributes(type_=kind, comment="from Python"),
            relationships=EventRelationships(created_by=EventRelationship(data=user)),
        ),
        included=[RawResource(type_=RawResourceType.USER, id="100")],
    )


said = {}

# Posts, one of them twice.
posted = [
    a(PostedDocument, post_notification.sync(client=client, body=event(kind), idempotency_key=f"post-{n}"))
    for n, kind in enumerate(["close", "print", "close", "print", "close"])
]
said["posted"] = [document.data.id for document in posted]
repeated = post_notification.sync(client=client, body=event("close"), idempotency_key="post-0")
said["repeated"] = a(PostedDocument, repeated).data.id

# Lists by filter and cursor to the end.
said["listed"] = []
after = "0"
while True:
    page = a(
        NotificationPage,
        list_notifications.sync(client=client, filtertype="close", sort="sequence", pagesize=2, pageafter=after),
    )
    said["listed"] += [notification.id for notification in page.data]
    after = page.meta.page.after
    if not page.links.next_:
        break

# Changes a flag.
first = posted[0].data.id
flags = FlagsData(type_="notification", id=first, attributes=Flags(is_read=True))
patched = a(NotificationDocument, patch_notification.sync(first, client=client, body=JsonApiFlags(data=flags)))
said["isRead"] = patched.data.attributes.is_read

# Does two things at once.
second = posted[1].data.id
operations = OperationsDocument(
    atomicoperations=[
        AddOperation(op=AddOperationOp.ADD, data=event("sign").data),
        UpdateOperation(
            op=UpdateOperationOp.UPDATE,
            data=FlagsData(type_="notification", id=second, attributes=Flags(is_flagged=True)),
        ),
    ]
)
results = a(OperationResults, post_operations.sync(client=client, body=operations)).atomicresults
said["added"] = results[0].data.id
said["isFlagged"] = results[1].data.attributes.is_flagged

# Is refused.
error = a(ErrorDocument, list_notifications.sync(client=client, pageafter="somewhere")).errors[0]
said["refused"] = [error.code.value, error.source.parameter]
error = a(ErrorDocument, get_notification.sync("1000", client=client)).errors[0]
said["unknown"] = [error.status, error.code.value]

print(json.dumps(said))
