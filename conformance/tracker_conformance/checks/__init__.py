"""All checks, a module for each section of the specification. Importing this registers them, in this order.

That is the order in which they are tried, so ``limits`` comes long after what is large in ``errors``.
"""

# isort: off
from tracker_conformance.checks import basics as basics
from tracker_conformance.checks import connection as connection
from tracker_conformance.checks import frames as frames
from tracker_conformance.checks import auth as auth
from tracker_conformance.checks import events as events
from tracker_conformance.checks import timestamps as timestamps
from tracker_conformance.checks import ids as ids
from tracker_conformance.checks import ingest as ingest
from tracker_conformance.checks import queries as queries
from tracker_conformance.checks import filters as filters
from tracker_conformance.checks import push as push
from tracker_conformance.checks import errors as errors
from tracker_conformance.checks import http as http
from tracker_conformance.checks import http_read as http_read
from tracker_conformance.checks import http_errors as http_errors
from tracker_conformance.checks import cors as cors
from tracker_conformance.checks import origins as origins
from tracker_conformance.checks import extensions as extensions
from tracker_conformance.checks import scopes as scopes
from tracker_conformance.checks import limits as limits
# isort: on
