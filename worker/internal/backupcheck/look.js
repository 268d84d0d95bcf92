// What the page's origin has stored. Nothing is changed: a database that would have
// to be made first is not there.
async (keys) => {
	const text = (e) => String(e && e.name || e) + ': ' + String(e && e.message || '').slice(0, 200);
	const settled = (request) => new Promise((resolve, reject) => {
		request.onsuccess = () => resolve(request.result);
		request.onerror = () => reject(request.error);
	});
	// The first record of each store is read: an index alone proves little.
	const read = async ({name, version}) => {
		const request = indexedDB.open(name, version);
		request.onupgradeneeded = () => request.transaction.abort();
		const db = await settled(request);
		const stores = [...db.objectStoreNames];
		if (stores.length > 0) {
			const all = db.transaction(stores, 'readonly');
			await Promise.all(stores.map((store) => settled(all.objectStore(store).openCursor())));
		}
		db.close();
	};
	const found = {origin: location.origin, missing: [], databases: [], broken: {}};
	found.missing = keys.filter((key) => localStorage.getItem(key) === null);
	let listed = [];
	try {
		listed = await indexedDB.databases();
	} catch (e) {
		found.broken['the list of databases'] = text(e);
	}
	for (const one of listed) {
		try {
			await read(one);
			found.databases.push(one.name);
		} catch (e) {
			found.broken[one.name] = text(e);
		}
	}
	return found;
}
