//! The sessions with databases that are configured: the warehouse's, and that of the figures' copy.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Runtime;

use super::files::{self, FileError};
use crate::{
    config::{Config, Connection, RedshiftApi, Tls, Warehouse, WarehouseKind},
    warehouse::{
        Place,
        load::{
            Address, CopySettings, DataApi, DataApiPacing, DataApiSettings, DataApiSetupError, PostgresSession,
            RedshiftWire, Roots, RootsError, Session,
        },
    },
};

/// PostgreSQL's port.
const POSTGRES_PORT: u16 = 5432;
/// Redshift's port.
const REDSHIFT_PORT: u16 = 5439;
/// Objects that a transaction of the Data API takes at most, whatever is configured: what names them is cut into statements
/// of [`DataApi::MAX_STATEMENT_BYTES`], of which a transaction has [`DataApi::MAX_STATEMENTS`].
const DATA_API_OBJECTS: usize = 500;

/// A session cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The certificates cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nobody can vouch for a host.
    #[error("the certificates for {setting}: {source}")]
    Roots {
        /// The connection.
        setting: &'static str,
        /// What is wrong.
        source: RootsError,
    },
    /// The Data API cannot be asked.
    #[error("cannot set up the Data API: {0}")]
    DataApi(#[from] DataApiSetupError),
}

/// A session with the configured warehouse, which is loaded from `place`; `None` if there is no warehouse. Asks nobody
/// anything yet.
pub(super) fn warehouse(
    config: &Config,
    place: &Arc<Place>,
    runtime: &Runtime,
) -> Result<Option<Box<dyn Session>>, SessionError> {
    let Config { warehouse, .. } = config;
    let address =
        |port| address("warehouse.connection", &warehouse.connection, port, warehouse.statement_timeout.get());
    let copying =
        || CopySettings { iam_role: warehouse.iam_role.clone().unwrap_or_default(), region: warehouse.region.clone() };
    Ok(Some(match (warehouse.kind, warehouse.api.unwrap_or_default()) {
        (WarehouseKind::None, _) => return Ok(None),
        (WarehouseKind::Postgres, _) => Box::new(PostgresSession::new(address(POSTGRES_PORT)?, Arc::clone(place))),
        (WarehouseKind::Redshift, RedshiftApi::Wire) => Box::new(RedshiftWire::new(address(REDSHIFT_PORT)?, copying())),
        (WarehouseKind::Redshift, RedshiftApi::Data) => {
            Box::new(runtime.block_on(DataApi::new(data_api(warehouse, copying())))?)
        }
    }))
}

/// A session with the database that figures are copied to, if there is one.
pub(super) fn export(config: &Config, place: &Arc<Place>) -> Result<Option<Box<dyn Session>>, SessionError> {
    let connection = &config.rollups.export;
    if !connection.is_given() {
        return Ok(None);
    }
    let timeout = config.warehouse.statement_timeout.get();
    let address = address("rollups.export", connection, POSTGRES_PORT, timeout)?;
    Ok(Some(Box::new(PostgresSession::new(address, Arc::clone(place)))))
}

/// How many objects a transaction may take.
pub(super) fn most_objects(warehouse: &Warehouse) -> usize {
    match (warehouse.kind, warehouse.api) {
        (WarehouseKind::Redshift, Some(RedshiftApi::Data)) => warehouse.max_objects.min(DATA_API_OBJECTS),
        _ => warehouse.max_objects,
    }
}

fn data_api(warehouse: &Warehouse, copying: CopySettings) -> DataApiSettings {
    DataApiSettings {
        workgroup: warehouse.workgroup.clone(),
        cluster: warehouse.cluster.clone(),
        database: warehouse.database.clone().unwrap_or_default(),
        db_user: None,
        secret_arn: warehouse.secret_arn.clone(),
        region: warehouse.region.clone(),
        endpoint: warehouse.endpoint.clone(),
        connect_timeout: warehouse.connection.connect_timeout.get(),
        statement_timeout: warehouse.statement_timeout.get(),
        copying,
        pacing: DataApiPacing::default(),
    }
}

/// Where the connection at `setting` leads, by `port` if it names none.
fn address(
    setting: &'static str,
    connection: &Connection,
    port: u16,
    statement_timeout: Duration,
) -> Result<Address, SessionError> {
    let believed = |roots: Result<Roots, RootsError>| roots.map_err(|source| SessionError::Roots { setting, source });
    let roots = match (connection.tls, &connection.ca_file) {
        (Tls::Off, _) => None,
        (Tls::Verify, None) => Some(believed(Roots::of_system())?),
        (Tls::Verify, Some(file)) => Some(believed(Roots::of_pem(&files::certificates(file)?))?),
    };
    Ok(Address {
        host: connection.host.clone(),
        port: if connection.port == 0 { port } else { connection.port },
        database: connection.database.clone(),
        user: connection.user.clone(),
        password: connection.password.expose().to_owned(),
        roots,
        connect_timeout: connection.connect_timeout.get(),
        statement_timeout,
    })
}
