//! An address with a fake node behind it, or with nobody.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A fake node.
pub(crate) trait Serve: 'static {
    /// Serves one connection to its end.
    fn serve(self: Rc<Self>, stream: TcpStream) -> impl Future<Output = ()>;
}

/// See the module.
pub(crate) struct Site<N> {
    pub(crate) node: Rc<N>,
    pub(crate) address: SocketAddr,
    tasks: JoinSet<()>,
}

impl<N: Serve> Site<N> {
    pub(crate) async fn open(node: Rc<N>) -> Self {
        Self::open_at(SocketAddr::from(([127, 0, 0, 1], 0)), node).await
    }

    pub(crate) async fn open_at(address: SocketAddr, node: Rc<N>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let mut site = Self {
            node,
            address: listener.local_addr().unwrap(),
            tasks: JoinSet::new(),
        };
        site.listen(listener);
        site
    }

    fn listen(&mut self, listener: TcpListener) {
        let node = Rc::clone(&self.node);
        self.tasks.spawn_local(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn_local(Rc::clone(&node).serve(stream));
            }
        });
    }

    /// Its connections break and no others are accepted.
    pub(crate) async fn leave(&mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.listen(listener);
    }
}
